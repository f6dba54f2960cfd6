/* What R calls when it loads the library: registers Rust's entry points and the one of unwind.c. */

#include <R_ext/Rdynload.h>
#include <Rinternals.h>

void R_init_rustbatch_extendr(DllInfo *library);
SEXP rustBatch_resume(SEXP arguments);

static const R_ExternalMethodDef externals[] = {
    {"rustBatch_resume", (DL_FUNC) &rustBatch_resume, 1},
    {NULL, NULL, 0}
};

void R_init_rustBatch(DllInfo *library)
{
    R_init_rustbatch_extendr(library);
    /* Another kind of routine: the table of .Call routines stays as Rust registered it. */
    R_registerRoutines(library, NULL, NULL, NULL, externals);
    R_useDynamicSymbols(library, FALSE);
}
