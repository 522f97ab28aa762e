/* SPDX-License-Identifier: BSD-3-Clause */
/** What `data.verify` asks for, done. */
#include "verify_data.h"

#include <string.h>

static const int64_t auto_limit = INT64_C(4) << 30;

bool syz_app_compares_data(const syz_app *app, const syz_shardset *data)
{
  const char *how = syz_input_text(app->input, "data.verify");
  return strcmp(how, "never") != 0 && (strcmp(how, "auto") != 0 || syz_shardset_bytes(data) < auto_limit);
}

syz_status syz_app_verify_data(syz_app *app, syz_shardset *data)
{
  const bool is_auto = strcmp(syz_input_text(app->input, "data.verify"), "auto") == 0;
  if (!syz_app_compares_data(app, data)) {
    if (is_auto) syz_info("checksums of %.1f GB of data are not compared (data.verify: always does)", (double)syz_shardset_bytes(data) / 1e9);
    return SYZ_OK;
  }
  syz_timing_begin(&app->timing, "verify data");
  const syz_status st = syz_shardset_verify(data);
  syz_timing_end(&app->timing);
  return st;
}
