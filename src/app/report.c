/* SPDX-License-Identifier: BSD-3-Clause */
/** `report`: a run folder as one HTML page. The work is done by syzygy/report.h. */
#include "app.h"
#include "syzygy/report.h"

const syz_key syz_report_keys[] = {
    {"report.run", SYZ_KEY_TEXT, "", "folder", 0, 0, NULL, SYZ_USED_BY(report),
     "Run folder to report on (or as an argument: syzygy report FOLDER); empty: output.dir."},
    {"report.embedding", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, SYZ_USED_BY(report),
     "Embedding files; empty: those in the run folder or, if none, those in folders next to it made with its model."},
    {"report.neighbours", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, SYZ_USED_BY(report),
     "Neighbours files; empty: those in the run folder or, if none, those in folders next to it made from its "
     "embeddings."},
    {"report.objects", SYZ_KEY_INT, "5", "objects", 0, 64, NULL, SYZ_USED_BY(report), "Objects in the gallery."},
    {"report.neighbours_shown", SYZ_KEY_INT, "5", "objects", 1, 50, NULL, SYZ_USED_BY(report),
     "Neighbours per object and direction in the gallery."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

/* The page goes into a finished run, whose input and log must not change, so the run folder is not locked. */
syz_status syz_command_report(syz_app *app)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  const char *output = syz_input_text(in, "output.dir"), *key = syz_input_text(in, "report.run");
  const char *run = app->n_arguments ? app->arguments[0] : *key ? key : output;
  const syz_report_options options = {.run = run,
                                      .folder = syz_input_is_given(in, "output.dir") ? output : run,
                                      .embeddings = syz_input_list(in, "report.embedding"),
                                      .neighbours_files = syz_input_list(in, "report.neighbours"),
                                      .data = syz_input_list(in, "data.path"),
                                      .objects = (int)syz_input_int(in, "report.objects"),
                                      .neighbours = (int)syz_input_int(in, "report.neighbours_shown"),
                                      .only_finds = app->is_dry_run};
  SYZ_REQUIRE(app->n_arguments <= 1, SYZ_ERR_INPUT, "report accepts one run folder, not %d", app->n_arguments);
  SYZ_REQUIRE(!app->n_arguments || !*key, SYZ_ERR_INPUT, "the run folder is given twice: %s and report.run: %s",
              app->arguments[0], key);
  SYZ_TRY(syz_report_write(&app->run, &options));
cleanup:
  return st;
}
