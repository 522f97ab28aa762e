/* SPDX-License-Identifier: BSD-3-Clause */
/* What a probe leaves: probe.json, predictions.h5 and predictions.fits where labels or votes were predicted, and the
 * files of outliers. Predictions and probe.json are complete before one of them takes its name, so that an earlier
 * result stays whole when a write fails; the files of outliers, each written whole, come before them. */
#include "write.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "outliers.h"
#include "predictions.h"
#include "syzygy/files.h"
#include "syzygy/json.h"
#include "votes.h"

static syz_status fill_predictions(const job *p, syz_h5 **f)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  double *scratch = syz_alloc("test objects", (size_t)(p->sample.test * POSTERIOR_SCRATCH), sizeof *scratch);
  SYZ_TRY_ALL(p->run->world, scratch ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/predictions.h5", p->run->folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  SYZ_TRY(syz_h5_create(p->run->world, path, "predictions", p->run->created_by, p->run->input_yaml, f));
  SYZ_TRY(predictions_fill(p, *f, scratch));
  for (int k = 0; k < p->n_posteriors; k++) SYZ_TRY(posterior_put(p, *f, &p->posterior[k], scratch));
  SYZ_TRY(votes_put(p, *f));
cleanup:
  syz_free(&scratch);
  return st;
}

static syz_status write_json(const job *p, const char *name)
{
  cJSON *root = probe_json(p);
  const syz_status st = syz_json_write(p->run->folder, name, root);
  cJSON_Delete(root);
  return st;
}

/* folder/name.new becomes folder/name. Rank 0 alone. */
static syz_status publish(const job *p, const char *name)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], complete[PATH_MAX];
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/%s", p->run->folder, name) < (int)sizeof path &&
                  snprintf(complete, sizeof complete, "%s/%s.new", p->run->folder, name) < (int)sizeof complete,
              SYZ_ERR_WRITE, "output.dir: name too long");
  SYZ_TRY(syz_file_publish(complete, path));
cleanup:
  return st;
}

static syz_status complete_files(job *p, bool has_predictions, syz_h5 **f)
{
  syz_status st = SYZ_OK;
  const bool is_first = syz_comm_rank(p->run->world) == 0;
  char path[PATH_MAX];
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/predictions.fits.new", p->run->folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  if (has_predictions) SYZ_TRY(fill_predictions(p, f));
  SYZ_TRY_ALL(p->run->world, is_first ? write_json(p, "probe.json.new") : SYZ_OK);
  SYZ_TRY_ALL(p->run->world, is_first && has_predictions ? predictions_write_fits(p, path) : SYZ_OK);
  if (p->outliers) SYZ_TRY(outliers_write(p));
cleanup:
  return st;
}

static syz_status write_all(job *p)
{
  syz_status st = SYZ_OK;
  const bool is_first = syz_comm_rank(p->run->world) == 0, has_predictions = p->sample.n_labels || p->n_votes;
  syz_h5 *f = NULL;
  SYZ_TRY(complete_files(p, has_predictions, &f));
  if (has_predictions) SYZ_TRY(syz_h5_publish(&f));
  SYZ_TRY_ALL(p->run->world, is_first && has_predictions ? publish(p, "predictions.fits") : SYZ_OK);
  SYZ_TRY_ALL(p->run->world, is_first ? publish(p, "probe.json") : SYZ_OK);
cleanup:
  if (st != SYZ_OK && is_first) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/probe.json.new", p->run->folder) < (int)sizeof path) unlink(path);
    if (snprintf(path, sizeof path, "%s/predictions.fits.new", p->run->folder) < (int)sizeof path) unlink(path);
  }
  syz_h5_close(&f);
  return st;
}

syz_status outcomes_write(job *p)
{
  syz_status st;
  syz_timing_begin(p->run->timing, "write");
  st = write_all(p);
  syz_timing_end(p->run->timing);
  return st;
}
