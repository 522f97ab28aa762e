/* SPDX-License-Identifier: BSD-3-Clause */
/** The data set that an input names: opened, what was left out told, its checksums compared when that is asked for. */
#include "shardset.h"

static const int64_t auto_limit = INT64_C(4) << 30;

syz_status syz_shardset_open_named(syz_comm *c, const syz_data_options *o, const char *purpose, syz_shardset **out)
{
  enum { TOLD = 20 };
  syz_status st = SYZ_OK;
  const syz_rejected *rejected;
  *out = NULL;
  SYZ_REQUIRE(o->path.n > 0, SYZ_ERR_INPUT, "data.path: name the files or folders %s", purpose);
  SYZ_TRY(syz_shardset_open(c, o->path.n, o->path.item, o->split, o->bad, out));
  const int64_t bad = syz_shardset_rejected(*out, &rejected);
  for (int64_t i = 0; i < bad && i < TOLD; i++)
    syz_warn("left out: %s, row %lld, object %lld: %s", rejected[i].file, (long long)rejected[i].row,
             (long long)rejected[i].object_id, rejected[i].reason);
  if (bad > TOLD) syz_warn("left out: %lld more objects", (long long)(bad - TOLD));
cleanup:
  return st;
}

bool syz_shardset_wants_verify(const syz_shardset *s, syz_verify when)
{
  return when == SYZ_VERIFY_ALWAYS || (when == SYZ_VERIFY_AUTO && syz_shardset_bytes(s) < auto_limit);
}

syz_status syz_shardset_verify_when(syz_shardset *s, syz_verify when, syz_timing *timing)
{
  if (!syz_shardset_wants_verify(s, when)) {
    if (when == SYZ_VERIFY_AUTO)
      syz_info("checksums of %.1f GB of data are not verified (data.verify: always verifies them)",
               (double)syz_shardset_bytes(s) / 1e9);
    return SYZ_OK;
  }
  syz_timing_begin(timing, "verify data");
  const syz_status st = syz_shardset_verify(s);
  syz_timing_end(timing);
  return st;
}
