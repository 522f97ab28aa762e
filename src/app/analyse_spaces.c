/* SPDX-License-Identifier: BSD-3-Clause */
/** What the tasks of `analyse` on embedding files have in common: their options. The work is syzygy/spaces.h. */
#include "analyse.h"
#include "compute.h"

syz_status syz_app_open_spaces(syz_app *app, void **out)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  syz_analysis_spaces *job = *out = syz_alloc("analysis", 1, sizeof *job);
  SYZ_TRY_ALL(app->world, job ? SYZ_OK : SYZ_ERR_MEMORY);
  job->options = (syz_spaces_options){.embeddings = syz_input_list(in, "analyse.embeddings"),
                                      .before = syz_input_list(in, "analyse.before"),
                                      .sources = syz_input_list(in, "analyse.sources"),
                                      .rank_tolerance = syz_input_real(in, "analyse.rank_tolerance"),
                                      .scalapack_from = syz_input_int(in, "analyse.scalapack_from"),
                                      .permutations = syz_input_int(in, "analyse.permutations"),
                                      .labels = syz_input_list(in, "analyse.labels"),
                                      .neighbours = syz_input_int(in, "analyse.neighbours"),
                                      .dimensions = syz_input_int(in, "analyse.dimensions"),
                                      .draw_objects = syz_input_int(in, "analyse.draw_objects"),
                                      .draws = syz_input_int(in, "analyse.draws"),
                                      .logit_scale = syz_input_real(in, "analyse.logit_scale"),
                                      .components = syz_input_int(in, "analyse.components"),
                                      .seed = (uint64_t)syz_input_int(in, "seed"),
                                      .compute = syz_app_compute_options(in)};
  SYZ_TRY(syz_spaces_open(&app->run, &job->options, &job->spaces));
cleanup:
  return st;
}

void syz_app_close_spaces(void **job)
{
  if (*job) syz_spaces_close(&((syz_analysis_spaces *)*job)->spaces);
  syz_free(job);
}
