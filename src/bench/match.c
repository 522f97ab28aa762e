/* SPDX-License-Identifier: BSD-3-Clause */
/** The part `match` of `bench`: spectra matched to catalogues on the sky as in `ingest`, in rows per second and bytes.
 */
#include "bench.h"
#include "syzygy/survey.h"

syz_status syz_bench_match(syz_bench *b)
{
  syz_status st = SYZ_OK;
  const int64_t rows = b->options->catalogue_rows, spectra = b->options->spectra;
  syz_match_trial t;
  SYZ_REQUIRE(spectra <= rows, SYZ_ERR_INPUT, "bench.spectra: %lld are more than bench.catalogue_rows",
              (long long)spectra);
  SYZ_TRY(syz_survey_try_match(b->run, b->options->seed, rows, spectra, &t));
  syz_info("%-12s %-26s %9.2f million rows/s (%.1f s); per rank at most %.1f MiB resident (%.1f before), %.1f MiB "
           "allocated; %lld of %lld spectra with their own row",
           "match", "catalogue to spectra", (double)rows / t.seconds / 1e6, t.seconds, (double)t.resident / 1048576,
           (double)t.resident_before / 1048576, (double)t.allocated / 1048576, (long long)t.own, (long long)spectra);
  if (syz_comm_rank(b->run->world) != 0) return st;
  cJSON *row = syz_bench_add_row(b, "match", "catalogue to spectra");
  cJSON_AddNumberToObject(row, "rows", (double)rows);
  cJSON_AddNumberToObject(row, "spectra", (double)spectra);
  cJSON_AddNumberToObject(row, "rows_per_s", (double)rows / t.seconds);
  cJSON_AddNumberToObject(row, "resident_bytes_per_rank", (double)t.resident);
  cJSON_AddNumberToObject(row, "resident_bytes_before", (double)t.resident_before);
  cJSON_AddNumberToObject(row, "allocated_bytes_per_rank", (double)t.allocated);
cleanup:
  return st;
}
