/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The loop: one for every objective.
 *
 * Steps (step.c), validations and checkpoints, and the return to the last checkpoint when memory has been damaged. All
 * decisions (go on, save, stop, go back, give up) follow from values that are the same on every rank.
 */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "gradients.h"
#include "manifest.h"
#include "syzygy/files.h"
#include "trainer.h"

enum { RETURNS = 3 /* most returns to one checkpoint */ };

static syz_status create_local(trainer *t)
{
  syz_status st = SYZ_OK;
  if (t->config->leaves > 0)
    SYZ_TRY(gradients_cut(t->gradients, syz_model_size(t->model), t->config->leaves / syz_comm_size(t->grid->data),
                          t->threads));
  const syz_objective *o = t->objective;
  if (o->attach) o->attach(o->self, t->gradients);
  SYZ_ALLOC(t->counts, "counts of shares", 2 * syz_comm_size(t->grid->data));
  SYZ_REQUIRE(o->n_scalars <= SYZ_SCALARS_MAX && o->n_terms <= SYZ_TERMS_MAX && o->n_clip_groups <= SYZ_CLIP_GROUPS &&
                  o->n_arrays <= SYZ_ARRAYS_MAX,
              SYZ_ERR_INTERNAL, "too many terms, clip groups or arrays");
cleanup:
  return st;
}

static syz_status path_in_folder(const trainer *t, const char *name, char *path)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE((size_t)snprintf(path, PATH_MAX, "%s/%s", t->config->folder, name) < PATH_MAX, SYZ_ERR_WRITE,
              "%s: the name is too long", t->config->folder);
cleanup:
  return st;
}

/* The files that this run will write: a symbolic link in place of one is refused before the first step, not after the
 * last. Rank 0. */
static syz_status refuse_links(const trainer *t)
{
  static const char *const name[] = {"model.h5", "model-student.h5", "model-best.h5", "metrics.jsonl",
                                     "validation.jsonl"};
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
    SYZ_TRY(path_in_folder(t, name[i], path));
    SYZ_TRY(syz_refuse_link(path));
  }
cleanup:
  return st;
}

static syz_status create(trainer *t)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(parts_create(t->grid, t->model, t->config->trains_backbones, t->objective, 0, &t->parts));
  SYZ_TRY_ALL(t->world,
              gradients_create(&t->parts, syz_model_size(t->model), t->config->reduction, t->threads, &t->gradients));
  gradients_watch(t->gradients, t->timing);
  SYZ_TRY_ALL(t->world, create_local(t));
  t->scalars.n = t->objective->n_scalars;
  for (int i = 0; i < t->scalars.n; i++) t->scalars.value[i] = t->objective->scalar_start[i];
  if (t->config->verify_every > 0)
    SYZ_TRY_ALL(t->world, digests_create(&t->parts, t->model, t->objective, &t->scalars, t->threads, &t->digests));
  t->parts.digests = t->digests;
  t->past.bound = t->config->verify_jump;
  t->state = (state){.best = INFINITY,
                     .parts = &t->parts,
                     .weights = syz_model_weights(t->model),
                     .scratch = syz_gradients_block(t->gradients),
                     .counts = t->counts,
                     .scalars = &t->scalars,
                     .digests = t->digests};
  SYZ_TRY_ALL(t->world, t->is_first ? refuse_links(t) : SYZ_OK);
  SYZ_TRY(checkpoint_open(t->world, t->config, t->objective, &t->store));
cleanup:
  return st;
}

static void destroy(trainer *t)
{
  metrics_close(&t->metrics);
  metrics_close(&t->validation);
  gradients_destroy(&t->gradients);
  digests_destroy(&t->digests);
  syz_free(&t->counts);
  parts_destroy(&t->parts);
}

static syz_status open_metrics(trainer *t)
{
  syz_status st = SYZ_OK;
  if (!t->is_first) return st;
  SYZ_TRY(metrics_open(t->config->folder, "metrics.jsonl", t->state.step, &t->metrics));
  SYZ_TRY(metrics_open(t->config->folder, "validation.jsonl", t->state.step + 1, &t->validation));
cleanup:
  return st;
}

static syz_status write_model(trainer *t, const syz_model *model, const char *name)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  SYZ_TRY(path_in_folder(t, name, path));
  SYZ_TRY(syz_model_file_write(t->world, path, model, t->config->created_by, t->config->input_yaml));
cleanup:
  return st;
}

/* The model that the run delivers: the one that trains, or its teacher. */
static const syz_model *result_of(const trainer *t) { return t->objective->result ? t->objective->result : t->model; }

/* Called before a model or checkpoint is written: sets goes_back when weights or moments are damaged or not finite.
 * Collective; agreed. */
static syz_status check_sound(trainer *t)
{
  if (!t->digests) return SYZ_OK;
  digests_check_all(t->digests);
  digests_compare(t->digests); /* files hold shares, parts of which belong to other ranks, and frozen weights */
  const syz_status st = syz_agree(t->world, digests_check_finite(t->digests));
  if (st != SYZ_OK) snprintf(t->wrong, sizeof t->wrong, "%.400s", syz_error_text());
  int64_t found = st != SYZ_OK ? DIGEST_DAMAGED : (int64_t)digests_found(t->digests);
  syz_allreduce_i64(t->world, &found, 1, SYZ_MAX);
  t->goes_back = found > DIGEST_SOUND;
  return SYZ_OK;
}

/* Figures on held-out objects; the best model so far is kept. Collective; agreed. */
static syz_status validate(trainer *t)
{
  syz_status st = SYZ_OK;
  syz_validation figures = {0};
  const double start = syz_clock_s();
  syz_timing_begin(t->timing, "validation");
  SYZ_TRY(t->objective->validate(t->objective->self, t->state.step, t->scalars.value, &figures));
  if (figures.n == 0) goto cleanup;
  if (t->is_first) {
    metrics_begin(&t->line, t->state.step);
    for (int i = 0; i < figures.n; i++) metrics_add(&t->line, figures.name[i], figures.value[i]);
    st = metrics_write(&t->validation, &t->line);
    if (st == SYZ_OK) st = metrics_sync(&t->validation);
  }
  SYZ_TRY_ALL(t->world, st);
  const bool is_best = figures.value[0] < t->state.best;
  char text[512];
  int n = snprintf(text, sizeof text, "validation after step %" PRId64 ":", t->state.step);
  for (int i = 0; i < figures.n && n > 0 && (size_t)n < sizeof text; i++)
    n += snprintf(text + n, sizeof text - (size_t)n, " %s %.4g", figures.name[i], figures.value[i]);
  syz_info("%s%s", text, is_best ? " (best so far)" : "");
  if (is_best) {
    SYZ_TRY(check_sound(t));
    if (t->goes_back) goto cleanup;
    t->state.best = figures.value[0];
    SYZ_TRY(write_model(t, result_of(t), "model-best.h5"));
  }
  syz_memory_note();
cleanup:
  t->longest_validation_s = fmax(t->longest_validation_s, syz_clock_s() - start);
  syz_timing_end(t->timing);
  return st;
}

/* Save a checkpoint; the metrics so far are flushed to disk first, so that a continued run finds them. Collective;
 * agreed. */
static syz_status save(trainer *t)
{
  syz_status st = SYZ_OK;
  syz_timing_begin(t->timing, "checkpoint");
  if (t->is_first) {
    st = t->carried;
    if (st == SYZ_OK) st = metrics_sync(&t->metrics);
  }
  SYZ_TRY_ALL(t->world, st);
  SYZ_TRY(check_sound(t));
  if (t->goes_back) goto cleanup;
  st = checkpoint_write(&t->store, &t->state);
  t->goes_back = st == SYZ_ERR_NUMERIC; /* damaged while it was written */
  if (t->goes_back) st = SYZ_OK;
  SYZ_TRY(st);
  t->saved_s = syz_clock_s();
  syz_memory_note();
cleanup:
  syz_timing_end(t->timing);
  return st;
}

/* Returns to the newest checkpoint, because of an error that a repeated computation does not remove. Collective;
 * agreed. */
static syz_status go_back(trainer *t)
{
  syz_status st = SYZ_OK;
  bool found = false;
  char why[600];
  const int64_t from = t->state.step;
  int64_t damage = (int64_t)digests_found(t->digests);
  syz_allreduce_i64(t->world, &damage, 1, SYZ_MAX);
  if (damage > DIGEST_SOUND && (int64_t)digests_found(t->digests) == damage)
    st = syz_error_set(SYZ_ERR_NUMERIC, __FILE__, __LINE__, "%s", digests_text(t->digests));
  st = syz_agree(t->world, st);
  char *place = strrchr(syz_error_text(), '['); /* drop the place in the code: this becomes a warning for the user */
  if (st != SYZ_OK && place && place > syz_error_text()) place[-1] = '\0';
  snprintf(why, sizeof why, "step %" PRId64 ": %.500s", from, st == SYZ_OK ? t->wrong : syz_error_text());
  SYZ_REQUIRE(damage < DIGEST_FROZEN, SYZ_ERR_NUMERIC,
              "%s: no checkpoint has frozen weights, so run the same command again", why);
  syz_warn("%s: back to the last checkpoint", why);
  t->store.last = t->store.before = -1;
  SYZ_TRY(checkpoint_resume(&t->store, &t->state, &found));
  SYZ_REQUIRE(found, SYZ_ERR_NUMERIC,
              "%s: there is no checkpoint yet; run the same command again, it starts from the beginning", why);
  t->returns = t->state.step == t->returned_to ? t->returns + 1 : 1;
  t->returned_to = t->state.step;
  SYZ_REQUIRE(t->returns <= RETURNS, SYZ_ERR_NUMERIC,
              "%s: this persists after %d returns to the checkpoint of step %" PRId64
              "; exclude this host, or lower train.lr if numbers grow without bounds",
              why, RETURNS, t->returned_to);
  digests_renew(t->digests);
  t->past = (verify_past){.bound = t->past.bound};
  t->goes_back = false;
  t->wrong[0] = '\0';
  metrics_close(&t->metrics);
  metrics_close(&t->validation);
  SYZ_TRY_ALL(t->world, open_metrics(t));
  SYZ_TRY(trainer_begin_again(t));
cleanup:
  return st;
}

static syz_status run(trainer *t)
{
  syz_status st = SYZ_OK;
  const syz_train_config *c = t->config;
  const char *reason = NULL;
  syz_progress progress;
  char note[96];
  double flags[FLAGS];
  const int64_t begun = t->state.step;
  SYZ_TRY(t->objective->begin(t->objective->self, t->state.step, c->steps));
  syz_progress_begin(&progress, t->objective->name, "steps", t->state.step, c->steps);
  t->saved_s = syz_clock_s();
  while (t->state.step < c->steps) {
    SYZ_TRY(trainer_step(t, flags));
    if (t->goes_back) {
      SYZ_TRY(go_back(t));
      continue;
    }
    if (t->state.step - begun <= 2) syz_memory_note(); /* by then all memory is in use; measuring takes milliseconds */
    if (t->is_first) {
      snprintf(note, sizeof note, "loss %.4f", t->loss);
      syz_progress_tell(&progress, t->state.step, note);
    }
    const bool is_last = t->state.step == c->steps;
    if (is_last || (c->validate_interval > 0 && t->state.step % c->validate_interval == 0)) SYZ_TRY(validate(t));
    const bool stops = flags[FLAG_STOP] > 0, is_late = flags[FLAG_TIME] > 0;
    if (!t->goes_back && (is_last || stops || is_late || flags[FLAG_SAVE] > 0 ||
                          (c->checkpoint_interval_steps > 0 && t->state.step % c->checkpoint_interval_steps == 0)))
      SYZ_TRY(save(t));
    if (t->goes_back) {
      SYZ_TRY(go_back(t));
      continue;
    }
    if (!is_last && (stops || is_late)) {
      reason = is_late && !stops ? "time limit" : syz_stop_reason();
      break;
    }
  }
  syz_progress_end(&progress, t->state.step);
  SYZ_REQUIRE(!reason, SYZ_STOPPED, "stopped after step %" PRId64 " of %" PRId64 " (%s)", t->state.step, c->steps,
              reason ? reason : "");
cleanup:
  if (st == SYZ_STOPPED && reason) /* without a reason: it stopped in the objective's set-up, which has logged it */
    syz_info("stopped after step %" PRId64 " of %" PRId64 " (%s); run the same command again to go on", t->state.step,
             c->steps, reason);
  return st;
}

/* Whether model.h5 belongs to the checkpoint that the run continues from: it does not if the run ended between the two.
 * Rank 0. */
static bool model_is_newer(const trainer *t, const char *path)
{
  struct stat written, saved;
  char manifest[PATH_MAX];
  if (manifest_step_path(t->store.folder, t->store.last, manifest, sizeof manifest - 16) != SYZ_OK) return false;
  strcat(manifest, "/manifest.json");
  if (stat(path, &written) != 0 || stat(manifest, &saved) != 0) return false;
  return written.st_mtim.tv_sec != saved.st_mtim.tv_sec ? written.st_mtim.tv_sec > saved.st_mtim.tv_sec
                                                        : written.st_mtim.tv_nsec >= saved.st_mtim.tv_nsec;
}

/* Whether every checksum of model.h5 holds; otherwise it is written again from the checkpoint. Collective; agreed. */
static syz_status check_model(trainer *t, const char *path, bool *is_whole)
{
  syz_h5 *f = NULL;
  syz_status st = syz_h5_open(t->world, path, &f);
  *is_whole = false;
  if (st == SYZ_OK) st = syz_h5_verify_all(f, is_whole);
  if (f) syz_h5_close(&f);
  if (st == SYZ_ERR_DATA) syz_warn("%s; it is written again", syz_error_text());
  return st == SYZ_ERR_DATA ? SYZ_OK : st;
}

syz_status syz_train_run(const syz_train_config *config, const syz_grid *grid, syz_model *model,
                         const syz_compute *compute, syz_objective *objective, syz_timing *timing)
{
  syz_status st = SYZ_OK;
  bool found = false, is_done = false;
  int64_t has_model = 0;
  char path[PATH_MAX];
  trainer t = {.config = config,
               .grid = grid,
               .world = grid->world,
               .model = model,
               .objective = objective,
               .timing = timing,
               .threads = syz_compute_threads(compute),
               .is_first = syz_comm_rank(grid->world) == 0,
               .metrics = {.fd = -1},
               .validation = {.fd = -1},
               .returned_to = -1};
  SYZ_TRY(create(&t));
  SYZ_TRY(checkpoint_resume(&t.store, &t.state, &found));
  if (found && t.digests) digests_renew(t.digests);
  if (found) syz_model_pack(model, false);
  if (found && objective->updated) objective->updated(objective->self, -1);
  SYZ_TRY(path_in_folder(&t, "model.h5", path));
  has_model = t.is_first && found && model_is_newer(&t, path);
  syz_bcast(t.world, &has_model, sizeof has_model, 0);
  if (found && t.state.step >= config->steps && has_model) SYZ_TRY(check_model(&t, path, &is_done));
  if (is_done) {
    syz_info("this run is done: %" PRId64 " steps, %s (raise train.steps to continue, or choose another output.dir)",
             t.state.step, path);
    goto cleanup;
  }
  SYZ_TRY_ALL(t.world, open_metrics(&t));
  SYZ_TRY(run(&t));
  /* model.h5 is written last: if it is there, so is the other. */
  if (result_of(&t) != model) SYZ_TRY(write_model(&t, model, "model-student.h5"));
  SYZ_TRY(write_model(&t, result_of(&t), "model.h5"));
  if (t.repeated && config->verify_jump > 0)
    syz_info("%" PRId64 " steps had an unexpected loss or gradient norm and were computed again", t.repeated);
  syz_info("wrote %s after %" PRId64 " steps", path, t.state.step);
cleanup:
  destroy(&t);
  return st;
}
