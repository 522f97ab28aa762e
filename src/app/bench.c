/* SPDX-License-Identifier: BSD-3-Clause */
/** `bench`: speed of every part against this machine's measured limit. The work is done by syzygy/bench.h. */
#include "syzygy/bench.h"

#include "compute.h"
#include "keys.h"

const syz_key syz_bench_keys[] = {
    {"bench.parts", SYZ_KEY_LIST, "product,towers,optimiser,allreduce,io", "", 0, 0, NULL, SYZ_USED_BY(bench),
     "What to measure: product, towers, optimiser, allreduce, io, pretrain (whole steps of pretrain-image), infonce "
     "(the contrastive loss) and match (spectra to catalogues as in ingest)."},
    {"bench.batch", SYZ_KEY_INT, "8", "objects per rank", 1, 4096, NULL, SYZ_USED_BY(bench),
     "Objects in a tower's batch."},
    {"bench.repeats", SYZ_KEY_INT, "5", "", 1, 1000, NULL, SYZ_USED_BY(bench),
     "Repetitions of each part, after a first one that is not counted."},
    {"bench.profile", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SYZ_USED_BY(bench),
     "Also list each tower's time by layer, with operations and bytes; `--profile` on the command line."},
    {"bench.pairs", SYZ_KEY_INT, "16384", "pairs", 1, 1e9, NULL, SYZ_USED_BY(bench),
     "Global batch of the infonce part; each embedding has 1024 numbers."},
    {"bench.blocks", SYZ_KEY_INT, "0", "", 0, 1e9, NULL, SYZ_USED_BY(bench),
     "infonce: compute only the first round of pieces, against this many blocks of 1152 rows per rank; 0: everything."},
    {"bench.streams", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SYZ_USED_BY(bench),
     "infonce: pass embeddings and gradients in chunks instead of holding them in whole arrays."},
    {"bench.catalogue_rows", SYZ_KEY_INT, "10000000", "rows", 1, 1e12, NULL, SYZ_USED_BY(bench),
     "match: rows of the catalogues, which are made in output.dir (26 bytes per row) and removed."},
    {"bench.spectra", SYZ_KEY_INT, "100000", "spectra", 1, 1e10, NULL, SYZ_USED_BY(bench),
     "match: number of spectra to match to a row."},
    {"bench.limit_s", SYZ_KEY_REAL, "2", "s", 0.1, 600, NULL, SYZ_USED_BY(bench),
     "Duration of each measurement of the matrix-product limit."},
    {"bench.io_bytes", SYZ_KEY_INT, "268435456", "bytes per rank", 1048576, 1e12, NULL, SYZ_USED_BY(bench),
     "Size of the files of the io part."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

static syz_status read_options(const syz_app *app, syz_bench_options *o)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  *o = (syz_bench_options){.parts = syz_input_list(in, "bench.parts"),
                           .seed = (uint64_t)syz_input_int(in, "seed"),
                           .batch = syz_input_int(in, "bench.batch"),
                           .repeats = (int)syz_input_int(in, "bench.repeats"),
                           .profiles = syz_input_bool(in, "bench.profile"),
                           .limit_s = syz_input_real(in, "bench.limit_s"),
                           .model_file = syz_input_text(in, "model.file"),
                           .pairs = syz_input_int(in, "bench.pairs"),
                           .blocks = syz_input_int(in, "bench.blocks"),
                           .streams = syz_input_bool(in, "bench.streams"),
                           .catalogue_rows = syz_input_int(in, "bench.catalogue_rows"),
                           .spectra = syz_input_int(in, "bench.spectra"),
                           .io_bytes = syz_input_int(in, "bench.io_bytes"),
                           .compression_level = (int)syz_input_int(in, "io.compression_level")};
  SYZ_TRY(syz_bench_check(o));
  SYZ_TRY(syz_app_io_settings(app, &o->io));
cleanup:
  return st;
}

syz_status syz_command_bench(syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_bench_options options;
  syz_compute *compute = NULL;
  SYZ_TRY_ALL(app->world, read_options(app, &options));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY_ALL(app->world, syz_model_config_read(app->input, &options.config));
  SYZ_TRY(syz_app_start_compute(app, &options.config, false, &compute));
  SYZ_TRY(syz_app_open_run_folder(app));
  syz_compute_tell(compute);
  SYZ_TRY(syz_bench_run(&app->run, &options, compute));
cleanup:
  syz_compute_destroy(&compute);
  return st;
}
