/* SPDX-License-Identifier: BSD-3-Clause */
/** Keys for the layout and writing of files, for every command that writes HDF5. */
#include <string.h>

#include "keys.h"

enum { WRITES = SYZ_USED_WHERE(SYZ_WRITES_HDF5) };

const syz_key syz_io_keys[] = {
    {"io.driver", SYZ_KEY_CHOICE, "auto", "", 0, 0, "mpio|direct|auto", WRITES,
     "mpio: collective MPI-IO, after space is reserved; direct: pwrite by every rank; auto: mpio where output.dir is "
     "on "
     "Lustre, GPFS or BeeGFS, or on NFS with ranks on several nodes, otherwise direct. The bytes are the same. "
     "Compressed files are always written by direct."},
    {"io.hints", SYZ_KEY_TEXT, "", "", 0, 0, NULL, WRITES,
     "Further hints for MPI-IO, such as romio_cb_write=enable,cb_buffer_size=16777216; the MPI library ignores names "
     "that it does not know."},
    {"io.stripe_count", SYZ_KEY_INT, "0", "", 0, 65535, NULL, WRITES,
     "Stripes of each new file on a parallel file system (hint striping_factor of MPI-IO); 0: the folder's setting."},
    {"io.stripe_size", SYZ_KEY_INT, "0", "bytes", 0, 4294901760.0, NULL, WRITES,
     "Size of a stripe, a multiple of 65536 (hint striping_unit of MPI-IO); 0: the folder's setting."},
    {"io.aggregators", SYZ_KEY_INT, "0", "ranks", 0, 1e6, NULL, WRITES,
     "Ranks that write for their neighbours (hint cb_nodes of MPI-IO); 0: every rank writes its own rows. Not for "
     "compressed datasets."},
    {"io.alignment", SYZ_KEY_INT, "4096", "bytes", 1, 1073741824, NULL, WRITES,
     "Datasets of 64 KiB and more begin at multiples of this; best the size of a stripe. Not in compressed files."},
    {"io.direct", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, WRITES,
     "Bypass the page cache (O_DIRECT) for pieces of 1 MiB and more, where the file system can; false: all through the "
     "cache."},
    {"io.compression", SYZ_KEY_CHOICE, "none", "", 0, 0, "none|deflate", WRITES,
     "Compress datasets of 64 KiB and more (shuffle and deflate, on all ranks in parallel). Training unpacks objects "
     "of "
     "compressed shards between steps."},
    {"io.compression_level", SYZ_KEY_INT, "1", "", 1, 9, NULL, WRITES, "1: fastest, 9: smallest."},
    {"io.link_root", SYZ_KEY_TEXT, "", "", 0, 0, NULL, SYZ_USED_BY_ALL,
     "Folder below which an HDF5 file that is read may refer to other files, by external links, external storage or "
     "virtual datasets; empty: such files are refused. A repeated command does not compare the files referred to; "
     "ingest makes its shards again."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

syz_status syz_app_io_settings(const syz_app *app, syz_h5_settings *s)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  const bool compresses = strcmp(syz_input_text(in, "io.compression"), "deflate") == 0;
  *s = (syz_h5_settings){.driver = strcmp(syz_input_text(in, "io.driver"), "mpio") == 0 ? SYZ_H5_MPIO : SYZ_H5_DIRECT,
                         .hints = syz_input_text(in, "io.hints"),
                         .alignment = syz_input_int(in, "io.alignment"),
                         .stripe_count = syz_input_int(in, "io.stripe_count"),
                         .stripe_size = syz_input_int(in, "io.stripe_size"),
                         .is_direct = syz_input_bool(in, "io.direct"),
                         .aggregators = (int)syz_input_int(in, "io.aggregators"),
                         .compression_level = compresses ? (int)syz_input_int(in, "io.compression_level") : 0,
                         .link_root = syz_input_text(in, "io.link_root")};
  SYZ_REQUIRE(s->stripe_size % 65536 == 0, SYZ_ERR_INPUT, "io.stripe_size: %lld is not a multiple of 65536",
              (long long)s->stripe_size);
  SYZ_REQUIRE(syz_h5_hints_are_usable(s->hints), SYZ_ERR_INPUT, "io.hints: \"%s\" is not name=value,name=value",
              s->hints);
cleanup:
  return st;
}

/* Replaces `auto` by the driver it selects, so that the resolved input records it. */
static syz_status settle_driver(syz_app *app)
{
  syz_status st = SYZ_OK;
  char file_system[32] = "";
  syz_h5_driver driver;
  const char *wish = syz_input_text(app->input, "io.driver");
  if (strcmp(wish, "auto") != 0) {
    syz_info("HDF5 files are written by io.driver %s", wish);
    goto cleanup;
  }
  SYZ_TRY(syz_h5_driver_for(app->world, syz_input_text(app->input, "output.dir"), &driver, file_system));
  SYZ_TRY_ALL(app->world, syz_input_assign(app->input, "io.driver", syz_h5_driver_name(driver)));
  syz_info("HDF5 files are written by io.driver %s (auto: output.dir is on %s)", syz_h5_driver_name(driver),
           file_system);
cleanup:
  return st;
}

syz_status syz_app_settle_io(syz_app *app)
{
  return SYZ_COMMAND_DOES(app->command, SYZ_WRITES_HDF5) ? settle_driver(app) : SYZ_OK;
}

syz_status syz_app_configure_io(const syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_h5_settings s;
  SYZ_TRY(syz_app_io_settings(app, &s));
  syz_h5_configure(&s);
cleanup:
  return st;
}
