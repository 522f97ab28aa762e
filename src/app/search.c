/* SPDX-License-Identifier: BSD-3-Clause */
/** `search`: nearest neighbours within and across modalities, retrieval figures. The work is done by
 * syzygy/catalogue.h. */
#include "syzygy/catalogue.h"

#include "compute.h"

const syz_key syz_search_keys[] = {
    {"search.index", SYZ_KEY_LIST, "", "", 0, 0, NULL, SYZ_USED_BY(search),
     "embedding files (or run folders with one) to search in; empty: <output.dir>/embedding.h5"},
    {"search.query", SYZ_KEY_LIST, "", "", 0, 0, NULL, SYZ_USED_BY(search),
     "embedding files whose objects are the queries; empty: those of the index"},
    {"search.index_modality", SYZ_KEY_CHOICE, "all", "", 0, 0, "image|spectrum|all", SYZ_USED_BY(search),
     "modality of the embeddings to search in"},
    {"search.query_modality", SYZ_KEY_CHOICE, "all", "", 0, 0, "image|spectrum|all", SYZ_USED_BY(search),
     "modality of the embeddings of the queries"},
    {"search.k", SYZ_KEY_INT, "10", "", 1, 100000, NULL, SYZ_USED_BY(search),
     "neighbours per query; where the index has fewer, the rest have id -1 and similarity NaN"},
    {"search.exclude_self", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SYZ_USED_BY(search),
     "leave the query's own object (same object_id) out of its neighbours when both modalities are the same"},
    {"search.label", SYZ_KEY_TEXT, "redshift", "", 0, 0, NULL, SYZ_USED_BY(search),
     "label that is predicted from neighbours and scored; every fifth object is a test object"},
    {"search.label_k", SYZ_KEY_INT, "64", "", 0, 10000, NULL, SYZ_USED_BY(search),
     "neighbours used in that regression; 0: no regression"},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

syz_status syz_command_search(syz_app *app)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  syz_neighbours *search = NULL;
  const syz_neighbours_options options = {.index = syz_input_list(in, "search.index"),
                                          .query = syz_input_list(in, "search.query"),
                                          .index_modality = syz_input_text(in, "search.index_modality"),
                                          .query_modality = syz_input_text(in, "search.query_modality"),
                                          .k = syz_input_int(in, "search.k"),
                                          .excludes_self = syz_input_bool(in, "search.exclude_self"),
                                          .label = syz_input_text(in, "search.label"),
                                          .label_k = syz_input_int(in, "search.label_k"),
                                          .compute = syz_app_compute_options(in)};
  SYZ_TRY(syz_neighbours_open(&app->run, &options, &search));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(syz_neighbours_write(search));
cleanup:
  syz_neighbours_close(&search);
  return st;
}
