/* SPDX-License-Identifier: BSD-3-Clause */
/** What `data.verify` asks for, done. */
#include "verify_data.h"

#include <string.h>

syz_status syz_app_verify_data(syz_app *app, syz_shardset *data)
{
  syz_status st = SYZ_OK;
  const int64_t limit = INT64_C(4) << 30;
  const char *how = syz_input_text(app->input, "data.verify");
  const int64_t bytes = syz_shardset_bytes(data);
  if (strcmp(how, "never") == 0) return SYZ_OK;
  if (strcmp(how, "auto") == 0 && bytes >= limit) {
    syz_info("checksums of %.1f GB of data are not compared (data.verify: always does)", (double)bytes / 1e9);
    return SYZ_OK;
  }
  syz_timing_begin(&app->timing, "verify data");
  st = syz_shardset_verify(data);
  syz_timing_end(&app->timing);
  return st;
}
