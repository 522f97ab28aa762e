/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Handles checkpoints that cannot be used as they are. None is ever removed, because a state whose manifest was lost or
 * damaged may be intact.
 *
 * If the run continues from a good one, the bad ones are renamed to aside-step-N, so that neither pruning nor a new
 * checkpoint of the same step affects them. If there is no good one, no file is changed and the run ends with
 * SYZ_ERR_CHECKPOINT, each time it is tried. With train.recover, a state.h5 whose checksums of all datasets and
 * attributes hold, and whose own step is that of its folder, gets a new manifest and is then a checkpoint like any
 * other. The user has to ask for this, because only a manifest confirms that the file is the one written last.
 */
#include "recover.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

syz_status recover_list(checkpoint_store *store, recover_step **list, int *n)
{
  syz_status st = SYZ_OK;
  manifest_step *found = NULL;
  int64_t count = 0;
  int listed = 0;
  const bool is_first = syz_comm_rank(store->world) == 0;
  *list = NULL;
  *n = 0;
  SYZ_TRY_ALL(store->world, is_first ? manifest_list(store->folder, &found, &listed) : SYZ_OK);
  count = listed;
  syz_bcast(store->world, &count, sizeof count, 0);
  *list = syz_alloc("checkpoint list", (size_t)count + 1, sizeof **list);
  SYZ_TRY_ALL(store->world, *list ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int i = 0; i < listed; i++)
    (*list)[i] = (recover_step){.step = found[i].step, .has_manifest = found[i].has_manifest};
  syz_bcast(store->world, *list, (size_t)count * sizeof **list, 0);
  *n = (int)count;
cleanup:
  syz_free(&found);
  return st;
}

/* Verifies every checksum of the state and reads the values of a manifest from it. Collective; agreed. */
static syz_status look_into(checkpoint_store *store, const char *file, int64_t step, syz_checkpoint_summary *about)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char *facts = NULL, *engine = NULL;
  int64_t found = -1;
  bool is_whole = false;
  SYZ_TRY(syz_h5_open(store->world, file, &f));
  SYZ_TRY(syz_h5_verify_all(f, &is_whole));
  if (!is_whole) syz_warn("%s is of an older version: checksums do not cover all of it", file);
  st = syz_h5_read(f, "step", SYZ_H5_I64, 0, 1, &found);
  if (st == SYZ_OK) st = syz_h5_read_text(f, "", "facts", &facts);
  if (st == SYZ_OK) st = syz_h5_read_text(f, "", "engine", &engine);
  SYZ_TRY_ALL(store->world, st);
  SYZ_REQUIRE(found == step, SYZ_ERR_CHECKPOINT, "%s holds step %" PRId64, file, found);
  *about = (syz_checkpoint_summary){.step = step};
  if (facts) (void)!sscanf(facts, "!objective=%31[^\n]", about->objective);
  if (engine) snprintf(about->engine, sizeof about->engine, "%s", engine);
cleanup:
  if (f) syz_h5_close(&f);
  syz_free(&facts);
  syz_free(&engine);
  return st;
}

static syz_status adopt(checkpoint_store *store, const recover_step *one, const char *path)
{
  syz_status st = SYZ_OK;
  char file[PATH_MAX];
  int64_t bytes = 0;
  uint64_t sum = 0;
  syz_checkpoint_summary about = {0};
  SYZ_REQUIRE((size_t)snprintf(file, sizeof file, "%s/%s", path, manifest_state_name) < sizeof file, SYZ_ERR_CHECKPOINT,
              "%s: the name is too long", path);
  SYZ_TRY(look_into(store, file, one->step, &about));
  SYZ_TRY(manifest_sum_file(store->world, file, &bytes, &sum));
  SYZ_TRY_ALL(store->world, syz_comm_rank(store->world) == 0 ? manifest_write(path, manifest_state_name, bytes, sum,
                                                                              &about, store->config->created_by)
                                                             : SYZ_OK);
  syz_warn("%s: the checksums of its state hold, so its manifest is written again (train.recover)", path);
cleanup:
  return st;
}

syz_status recover_check(checkpoint_store *store, const recover_step *one, const char *path,
                         syz_checkpoint_summary *about)
{
  syz_status st = SYZ_OK;
  if (one->has_manifest)
    st = syz_checkpoint_check(store->world, path, about);
  else
    st = syz_error_set(SYZ_ERR_CHECKPOINT, __FILE__, __LINE__, "%s: manifest.json is missing beside %s", path,
                       manifest_state_name);
  if (st != SYZ_ERR_CHECKPOINT || !store->config->recovers) goto cleanup;
  SYZ_TRY(adopt(store, one, path));
  SYZ_TRY(syz_checkpoint_check(store->world, path, about));
cleanup:
  return st;
}

/* Rank 0. */
static syz_status set_aside(const checkpoint_store *store, const recover_step *list, int n)
{
  syz_status st = SYZ_OK;
  char aside[PATH_MAX];
  int n_removed = 0;
  for (int i = 0; i < n; i++) {
    if (!list[i].is_bad) continue;
    SYZ_TRY(manifest_set_aside(store->folder, list[i].step, aside, sizeof aside));
    syz_warn("the bad checkpoint of step %" PRId64 " is set aside as %s; remove it if you do not need it", list[i].step,
             aside);
  }
  SYZ_TRY(manifest_clear(store->folder, &n_removed));
  if (n_removed)
    syz_info("removed %d checkpoint%s that an earlier run did not finish writing", n_removed,
             n_removed == 1 ? "" : "s");
cleanup:
  return st;
}

syz_status recover_tidy(checkpoint_store *store, const recover_step *list, int n)
{
  syz_status st = SYZ_OK;
  SYZ_TRY_ALL(store->world, syz_comm_rank(store->world) == 0 ? set_aside(store, list, n) : SYZ_OK);
cleanup:
  return st;
}
