//! Whatever stands in Redis, decoding it neither panics nor opens what was not sealed for its place.
//! `tools/test fuzz` runs the same for minutes instead of a second.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rustbatch_protocol::{
    Binding, BlobRef, Chunk, ChunkName, ClusterKey, Context, ControlMessage, JobId, Kind, Outcome,
    Seal, WorkerId, decode,
};

fn seal() -> Seal {
    Seal::new("fuzz".parse().unwrap(), ClusterKey::random().unwrap()).unwrap()
}

/// What is done to a genuine frame.
#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Append(Vec<u8>),
    Swap(usize, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        any::<usize>().prop_map(Change::Cut),
        prop::collection::vec(any::<u8>(), 1..64).prop_map(Change::Append),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Change::Swap(a, b)),
    ];
    prop::collection::vec(change, 1..4)
}

fn apply(frame: &mut Vec<u8>, change: Change) {
    let length = frame.len().max(1);
    match change {
        Change::Flip(at, bits) => {
            if let Some(byte) = frame.get_mut(at % length) {
                *byte ^= bits;
            }
        }
        Change::Cut(at) => frame.truncate(at % length),
        Change::Append(more) => frame.extend(more),
        Change::Swap(a, b) if !frame.is_empty() => frame.swap(a % length, b % length),
        Change::Swap(..) => {}
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let (seal, job) = (seal(), JobId::random().unwrap());
        for kind in [Kind::Chunk, Kind::Outcome, Kind::Blob, Kind::Control, Kind::Signal] {
            prop_assert!(seal.open(&Binding::new(kind, &job, "1+1"), bytes.clone()).is_err());
        }
        // What was authentic before it was damaged by us is decoded, too.
        let _ = decode::<Chunk>(&bytes);
        let _ = decode::<Outcome>(&bytes);
        let _ = decode::<Context>(&bytes);
        let _ = decode::<WorkerId>(&bytes);
        if let Ok(message) = ControlMessage::read(&bytes) {
            prop_assert!(message.open(&seal, &WorkerId::random().unwrap()).is_err());
        }
    }

    #[test]
    fn a_frame_with_a_header_that_lies_is_refused(
        length in any::<u64>(), rest in prop::collection::vec(any::<u8>(), 32..256), flags in 0_u8..4
    ) {
        // Magic, version, suite, kind, flags, and a length that no memory has.
        let mut frame = vec![b'r', b'B', 1, 1, Kind::Chunk as u8, flags];
        frame.extend(length.to_le_bytes());
        frame.extend(rest);
        let job = JobId::random().unwrap();
        prop_assert!(seal().open(&Binding::new(Kind::Chunk, &job, "1+1"), frame).is_err());
    }

    #[test]
    fn a_changed_frame_does_not_open(
        plain in prop::collection::vec(any::<u8>(), 0..4096), changes in changes()
    ) {
        let (seal, job) = (seal(), JobId::random().unwrap());
        let place = Binding::new(Kind::Outcome, &job, "3+4");
        let genuine = seal.seal(&place, &plain).unwrap();
        let mut frame = genuine.clone();
        changes.into_iter().for_each(|change| apply(&mut frame, change));
        let opened = seal.open(&place, frame.clone());
        if frame == genuine {
            prop_assert_eq!(opened.unwrap(), plain);
        } else {
            prop_assert!(opened.is_err());
        }
    }

    #[test]
    fn any_text_is_a_name_or_none(text in "\\PC{0,80}") {
        if let Ok(name) = text.parse::<ChunkName>() {
            prop_assert_eq!(name.to_string().parse::<ChunkName>().unwrap(), name);
        }
        let _ = ChunkName::from_entry(&text);
        let _ = text.parse::<BlobRef>();
        let _ = text.parse::<JobId>();
    }
}
