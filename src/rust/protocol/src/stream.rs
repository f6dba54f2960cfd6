//! Random streams: L'Ecuyer's combined multiple-recursive generator MRG32k3a, jumped ahead.
//!
//! Task `i` of a job uses stream `i`: the job's first stream advanced `i - 1` times by 2^127 steps,
//! as R's `parallel::nextRNGStream()` does. The matrices are those of P. L'Ecuyer, R. Simard,
//! E. J. Chen and W. D. Kelton, "An object-oriented random-number package with many long streams and
//! substreams", Operations Research 50 (2002), section 3; a jump over many streams is a power of
//! them.

type Matrix = [[u64; 3]; 3];

const M1: u64 = 4_294_967_087;
const M2: u64 = 4_294_944_443;
const A1_P127: Matrix = [
    [2_427_906_178, 3_580_155_704, 949_770_784],
    [226_153_695, 1_230_515_664, 3_580_155_704],
    [1_988_835_001, 986_791_581, 1_230_515_664],
];
const A2_P127: Matrix = [
    [1_464_411_153, 277_697_599, 1_610_723_613],
    [32_183_930, 1_464_411_153, 1_022_607_788],
    [2_824_425_944, 32_183_930, 2_093_834_863],
];

fn apply(a: &Matrix, state: &[u32], m: u64) -> [u32; 3] {
    // A sum of three products below 2^64 needs 66 bits.
    a.map(|row| {
        let sum: u128 = row.iter().zip(state).map(|(&x, &s)| u128::from(x) * u128::from(s)).sum();
        (sum % u128::from(m)) as u32
    })
}

fn multiply(a: &Matrix, b: &Matrix, m: u64) -> Matrix {
    let cell = |i: usize, j: usize| {
        let sum: u128 = (0..3).map(|k| u128::from(a[i][k]) * u128::from(b[k][j])).sum();
        (sum % u128::from(m)) as u64
    };
    std::array::from_fn(|i| std::array::from_fn(|j| cell(i, j)))
}

fn power(mut a: Matrix, mut n: u64, m: u64) -> Matrix {
    let mut result: Matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    while n > 0 {
        if n & 1 == 1 {
            result = multiply(&a, &result, m);
        }
        a = multiply(&a, &a, m);
        n >>= 1;
    }
    result
}

/// The stream `n` streams after `state`. The six numbers are those of R's `.Random.seed[-1]`, read
/// as unsigned.
#[must_use]
pub fn jump(state: [u32; 6], n: u64) -> [u32; 6] {
    let first = apply(&power(A1_P127, n, M1), &state[..3], M1);
    let second = apply(&power(A2_P127, n, M2), &state[3..], M2);
    [first[0], first[1], first[2], second[0], second[1], second[2]]
}

/// The next stream after `state`; cheaper than [`jump`] by one.
#[must_use]
pub fn next(state: [u32; 6]) -> [u32; 6] {
    let first = apply(&A1_P127, &state[..3], M1);
    let second = apply(&A2_P127, &state[3..], M2);
    [first[0], first[1], first[2], second[0], second[1], second[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    // RNGkind("L'Ecuyer-CMRG"); set.seed(1); .Random.seed[-1], and one and a hundred times
    // parallel::nextRNGStream() of it, from R 4.2.2.
    const SEED_1: [i32; 6] =
        [1_280_795_612, -169_270_483, -442_010_614, -603_558_397, -222_347_416, 1_489_374_793];
    const NEXT_1: [i32; 6] =
        [4_246_464, -231_956_060, -471_632_796, 1_620_595_781, 533_443_421, 594_164_961];
    const NEXT_100: [i32; 6] =
        [1_816_592_577, 378_223_499, 1_409_783_454, -1_084_744_364, -1_920_379_381, 437_730_145];

    fn unsigned(state: [i32; 6]) -> [u32; 6] {
        state.map(|x| x as u32)
    }

    #[test]
    fn the_streams_are_those_of_r() {
        assert_eq!(next(unsigned(SEED_1)), unsigned(NEXT_1));
        assert_eq!(jump(unsigned(SEED_1), 100), unsigned(NEXT_100));
    }

    #[test]
    fn one_step_and_a_jump_agree() {
        let start = unsigned(SEED_1);
        let mut state = start;
        for n in 0..50 {
            assert_eq!(jump(start, n), state, "{n}");
            state = next(state);
        }
        assert_eq!(jump(jump(start, 1 << 40), 3), jump(start, (1 << 40) + 3));
    }
}
