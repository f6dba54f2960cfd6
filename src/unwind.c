/* The barrier between Rust and R's jumps.
 *
 * R leaves a function by longjmp (an error, a restart, return(), an interrupt). Such a jump must not
 * cross a Rust frame that still has something to drop. rustBatch_protect() stops the jump in the
 * clean-up of R_UnwindProtect and gives it back as a token; Rust returns, dropping what it owns; and
 * R code resumes the jump last, by rustBatch_resume(). */

#include <setjmp.h>
#include <Rinternals.h>

static void stop_here(void *here, Rboolean jump)
{
    if (jump)
        longjmp(*(jmp_buf *) here, 1);
}

/* Calls call(data). Returns its value, or, when R jumped, sets *jumped and returns the token. */
SEXP rustBatch_protect(SEXP (*call)(void *), void *data, int *jumped)
{
    SEXP token = PROTECT(R_MakeUnwindCont());
    jmp_buf here;

    if (setjmp(here)) {
        *jumped = 1;
        UNPROTECT(1);
        return token;
    }
    SEXP value = R_UnwindProtect(call, data, stop_here, &here, token);
    *jumped = 0;
    UNPROTECT(1);
    return value;
}

/* .External(rustBatch_resume, token): goes on with the jump that the token holds. */
SEXP rustBatch_resume(SEXP arguments)
{
    R_ContinueUnwind(CADR(arguments));
    return R_NilValue;
}
