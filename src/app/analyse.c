/* SPDX-License-Identifier: BSD-3-Clause */
/** `analyse`: what features are made of. Which tasks there are is in analyse.h. */
#include "analyse.h"

#define USED SYZ_USED_BY(analyse)
#define CHOICE(name, text, about) "|" text
#define HELP(name, text, about) text ": " about ". "

const syz_key syz_analyse_keys[] = {
    {"analyse.task", SYZ_KEY_CHOICE, "patches", "", 0, 0, &SYZ_ANALYSES(CHOICE)[1], USED,
     SYZ_ANALYSES(HELP) "May also stand after the command: syzygy analyse patches."},
    {"analyse.embeddings", SYZ_KEY_LIST, "", "", 0, 0, NULL, USED,
     "All tasks but patches: embedding files, or run folders with one; empty: <output.dir>/embedding.h5."},
    {"analyse.before", SYZ_KEY_LIST, "", "", 0, 0, NULL, USED,
     "All tasks but patches and pca: embedding files of the same objects before alignment, which are looked at beside "
     "the others; empty: none."},
    {"analyse.sources", SYZ_KEY_LIST, "image,spectrum", "", 0, 0, NULL, USED,
     "All tasks but patches: the two columns: image, spectrum, or datasets (N, E) of the files by name."},
    {"analyse.components", SYZ_KEY_INT, "16", "", 3, 1024, NULL, USED,
     "Principal components in patches.h5, whose first three make the colours, or in pca.h5."},
    {"analyse.scalapack_from", SYZ_KEY_INT, "1536", "rows", 1, 1000000, NULL, USED,
     "Eigenproblems and singular values of this size and more are solved by ScaLAPACK on all ranks, smaller ones by "
     "LAPACK on one."},
    {"analyse.rank_tolerance", SYZ_KEY_REAL, "1.0e-6", "", 0, 1, NULL, USED,
     "cca, mutual-information: a direction of standardised columns below this fraction of the largest one is rounding "
     "of float32 and left out."},
    {"analyse.draw_objects", SYZ_KEY_INT, "2048", "objects", 2, 32768, NULL, USED,
     "mutual-information, health: objects of the largest draw, whose pairs are all compared; at most half "
     "of all, so that draws differ."},
    {"analyse.draws", SYZ_KEY_INT, "8", "", 2, 10000, NULL, USED,
     "mutual-information, health: draws of each size, whose scatter gives the error."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

syz_status syz_command_analyse(syz_app *app)
{
#define ROW(name, task, about) {task, &syz_analysis_##name},
  static const syz_task_row rows[] = {SYZ_ANALYSES(ROW)};
#undef ROW
  return syz_app_run_task(app, "analyse.task", rows);
}
