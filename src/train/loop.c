/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The loop: one for every objective.
 *
 * A step is: forward (loss of the global batch), one small reduction that carries everybody's status and requests to stop, backward with
 * the gradient sums under way beside it, norms, AdamW on this rank's slices, which spreads the new weights, what follows from them in the objective
 * (a teacher), one line of metrics. All decisions (go on, save, stop, give up) follow from values that are the same on every rank.
 */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "gradients.h"
#include "manifest.h"
#include "metrics.h"
#include "optimiser.h"
#include "parts.h"
#include "syzygy/data.h"
#include "syzygy/train.h"

/* What rides in the small reduction of a step: the maximum over ranks of each. */
typedef enum flag { FLAG_STATUS, FLAG_STOP, FLAG_SAVE, FLAG_TIME, FLAG_WAIT, FLAGS } flag;

typedef struct trainer {
  const syz_train_config *config;
  const syz_grid *grid;
  syz_comm *world;
  syz_model *model;
  syz_objective *objective;
  syz_timing *timing;
  int threads;
  bool is_first;
  parts parts;
  scalars scalars;
  syz_gradients *gradients;
  state state;
  size_t *counts; /* scratch of the state */
  checkpoint_store store;
  metrics metrics, validation;
  metrics_line line;
  syz_status carried;                          /* a failure of rank 0 after the step's last agreement: told at the next */
  double saved_s, loss;                        /* clock of the last save; of the last step */
  double longest_step_s, longest_validation_s; /* so far */
} trainer;

static syz_status create_local(trainer *t)
{
  syz_status st = SYZ_OK;
  if (t->config->leaves > 0)
    SYZ_TRY(gradients_cut(t->gradients, syz_model_size(t->model), t->config->leaves / syz_comm_size(t->grid->data), t->threads));
  const syz_objective *o = t->objective;
  if (o->attach) o->attach(o->self, t->gradients);
  SYZ_ALLOC(t->counts, "counts of shares", 2 * syz_comm_size(t->grid->data));
  SYZ_REQUIRE(o->n_scalars <= SYZ_SCALARS_MAX && o->n_terms <= SYZ_TERMS_MAX && o->n_clip_groups <= SYZ_CLIP_GROUPS && o->n_arrays <= SYZ_ARRAYS_MAX,
              SYZ_ERR_INTERNAL, "too many terms, clip groups or arrays");
cleanup:
  return st;
}

static syz_status path_in_folder(const trainer *t, const char *name, char *path)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE((size_t)snprintf(path, PATH_MAX, "%s/%s", t->config->folder, name) < PATH_MAX, SYZ_ERR_WRITE, "%s: the name is too long",
              t->config->folder);
cleanup:
  return st;
}

/* What this run will write: a link in its place is refused before the first step, not after the last. Rank 0. */
static syz_status refuse_links(const trainer *t)
{
  static const char *const name[] = {"model.h5", "model-student.h5", "model-best.h5", "metrics.jsonl", "validation.jsonl"};
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
  SYZ_TRY_ALL(t->world, gradients_create(&t->parts, syz_model_size(t->model), t->config->reduction, t->threads, &t->gradients));
  gradients_watch(t->gradients, t->timing);
  SYZ_TRY_ALL(t->world, create_local(t));
  t->scalars.n = t->objective->n_scalars;
  for (int i = 0; i < t->scalars.n; i++) t->scalars.value[i] = t->objective->scalar_start[i];
  t->state = (state){.best = INFINITY,
                     .parts = &t->parts,
                     .weights = syz_model_weights(t->model),
                     .scratch = syz_gradients_block(t->gradients),
                     .counts = t->counts,
                     .scalars = &t->scalars};
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

/* What the run is for: the model that trains, or its teacher. */
static const syz_model *result_of(const trainer *t) { return t->objective->result ? t->objective->result : t->model; }

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
    t->state.best = figures.value[0];
    SYZ_TRY(write_model(t, result_of(t), "model-best.h5"));
  }
  syz_memory_note();
cleanup:
  t->longest_validation_s = fmax(t->longest_validation_s, syz_clock_s() - start);
  syz_timing_end(t->timing);
  return st;
}

/* Save; the metrics up to here reach the disk first, so that a continued run finds them. Collective; agreed. */
static syz_status save(trainer *t)
{
  syz_status st = SYZ_OK;
  syz_timing_begin(t->timing, "checkpoint");
  if (t->is_first) {
    st = t->carried;
    if (st == SYZ_OK) st = metrics_sync(&t->metrics);
  }
  SYZ_TRY_ALL(t->world, st);
  SYZ_TRY(checkpoint_write(&t->store, &t->state));
  t->saved_s = syz_clock_s();
  syz_memory_note();
cleanup:
  syz_timing_end(t->timing);
  return st;
}

static void ask(const trainer *t, syz_status local, double *flags)
{
  const syz_train_config *c = t->config;
  memset(flags, 0, FLAGS * sizeof *flags);
  flags[FLAG_STATUS] = (double)local;
  flags[FLAG_STOP] = syz_stop_asked(t->world, c->folder);
  if (!t->is_first) return;
  const double now = syz_clock_s();
  flags[FLAG_SAVE] = c->checkpoint_interval_s > 0 && now - t->saved_s >= c->checkpoint_interval_s;
  /* Leave while there is time for a step, a validation and a checkpoint of the usual length. */
  const double needed_s = 2 * t->longest_step_s + t->longest_validation_s + 2 * t->store.write_s;
  flags[FLAG_TIME] = c->time_limit_s > 0 && syz_clock_since_start_s() + needed_s >= c->time_limit_s;
}

/* Names what a gradient that is not finite belongs to; false when it is nothing of this rank's towers. */
static bool describe_gradients(trainer *t, char *text, size_t room)
{
  int n_parameters = 0;
  const syz_parameter *table = syz_model_parameters(t->model, &n_parameters);
  const float *g = syz_gradients_block(t->gradients);
  for (int i = 0; i < n_parameters; i++) {
    if (!table[i].is_used || (part_is_backbone(table[i].part) && !t->config->trains_backbones)) continue;
    if (isfinite(syz_sum_of_squares(g + table[i].offset, table[i].size, 1))) continue;
    snprintf(text, room, "the gradient of %s is not finite", table[i].name);
    return true;
  }
  return false;
}

/* What the step's update was made with. */
typedef struct update {
  double lr, weight_decay, norm, group[SYZ_CLIP_GROUPS];
} update;

static void report(trainer *t, const syz_step_result *result, const update *u, double wait_s, double step_s)
{
  const syz_objective *o = t->objective;
  if (!t->is_first) return;
  metrics_begin(&t->line, t->state.step - 1);
  metrics_add(&t->line, "loss", result->loss);
  for (int i = 0; i < o->n_terms; i++) metrics_add(&t->line, o->term_name[i], result->term[i]);
  for (int i = 0; i < o->n_scalars; i++) metrics_add(&t->line, o->scalar_name[i], t->scalars.value[i]);
  metrics_add(&t->line, "lr", u->lr);
  if (t->config->weight_decay_end != t->config->weight_decay) metrics_add(&t->line, "weight_decay", u->weight_decay);
  metrics_add(&t->line, "grad_norm", u->norm);
  for (int i = 0; i < o->n_clip_groups; i++) {
    char name[64];
    snprintf(name, sizeof name, "grad_norm_%s", o->clip_group_name[i]);
    metrics_add(&t->line, name, u->group[i]);
  }
  metrics_add(&t->line, "samples_per_s", step_s > 0 ? (double)t->config->global_batch / step_s : 0);
  metrics_add(&t->line, "wait_s", wait_s);
  t->carried = metrics_write(&t->metrics, &t->line);
}

/* One step. Collective; agreed. flags: what the step's reduction said. */
static syz_status step(trainer *t, double *flags)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  syz_objective *o = t->objective;
  const syz_train_config *c = t->config;
  const int64_t s = t->state.step;
  const double start = syz_clock_s();
  syz_step_result result = {0};
  if (c->at_step) SYZ_TRY(c->at_step(c->watcher, s));
  if (c->timing_from_step > 0 && s == c->timing_from_step) syz_timing_restart(t->timing);
  gradients_begin(t->gradients);
  memset(t->scalars.gradient, 0, sizeof t->scalars.gradient);
  local = o->forward(o->self, s, t->scalars.value, &result);
  if (local == SYZ_OK) local = t->carried;
  ask(t, local, flags);
  flags[FLAG_WAIT] = result.wait_s;
  syz_timing_begin(t->timing, "agreement");
  syz_allreduce_f64(t->world, flags, FLAGS, SYZ_MAX);
  syz_timing_end(t->timing);
  if (flags[FLAG_STATUS] > 0) SYZ_TRY(syz_agree(t->world, local));
  if (!isfinite(result.loss)) {
    char text[1024] = "";
    o->describe(o->self, s, text, sizeof text);
    SYZ_REQUIRE(false, SYZ_ERR_NUMERIC, "step %" PRId64 ": the loss is %g%s%s", s, result.loss, text[0] ? ": " : "", text);
  }
  local = o->backward(o->self, s, t->gradients, t->scalars.gradient);
  syz_timing_begin(t->timing, "gradient sums");
  gradients_finish(t->gradients);
  syz_timing_end(t->timing);
  syz_timing_begin(t->timing, "optimiser");
  update u = {.lr = syz_schedule_lr(s, c->lr, c->lr_min, c->warmup_steps, c->steps), .weight_decay = c->weight_decay};
  if (c->weight_decay_end != c->weight_decay) u.weight_decay = syz_schedule_cosine(s, c->weight_decay, c->weight_decay_end, c->steps);
  u.norm = optimiser_norm(&t->parts, syz_gradients_block(t->gradients), &t->scalars, local == SYZ_OK ? 0 : NAN, t->threads, u.group);
  syz_timing_end(t->timing);
  if (!isfinite(u.norm)) {
    char text[256];
    if (local == SYZ_OK && describe_gradients(t, text, sizeof text))
      local = syz_error_set(SYZ_ERR_NUMERIC, __FILE__, __LINE__, "step %" PRId64 ": %s (loss %g)", s, text, result.loss);
    SYZ_TRY(syz_agree(t->world, local));
    SYZ_REQUIRE(false, SYZ_ERR_NUMERIC, "step %" PRId64 ": the gradient norm is not finite (loss %g)", s, result.loss);
  }
  const syz_adamw rule = {.lr = u.lr, .beta1 = c->beta1, .beta2 = c->beta2, .eps = c->eps, .weight_decay = u.weight_decay};
  double scale[SYZ_CLIP_GROUPS];
  for (int i = 0; i < SYZ_CLIP_GROUPS; i++) scale[i] = optimiser_clip(u.group[i], c->clip_grad_norm);
  syz_timing_begin(t->timing, "optimiser");
  optimiser_update(&t->parts, &rule, s + 1, scale, t->state.weights, syz_gradients_block(t->gradients), &t->scalars, t->threads);
  syz_model_pack(t->model, !c->trains_backbones);
  syz_timing_end(t->timing);
  if (o->updated) o->updated(o->self, s);
  t->state.step = s + 1;
  t->loss = result.loss;
  const double step_s = syz_clock_s() - start;
  if (step_s > t->longest_step_s) t->longest_step_s = step_s;
  report(t, &result, &u, flags[FLAG_WAIT], step_s);
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
    SYZ_TRY(step(t, flags));
    if (t->state.step - begun <= 2) syz_memory_note(); /* by then everything has been touched; a look takes milliseconds */
    if (t->is_first) {
      snprintf(note, sizeof note, "loss %.4f", t->loss);
      syz_progress_tell(&progress, t->state.step, note);
    }
    const bool is_last = t->state.step == c->steps;
    if (is_last || (c->validate_interval > 0 && t->state.step % c->validate_interval == 0)) SYZ_TRY(validate(t));
    const bool stops = flags[FLAG_STOP] > 0, is_late = flags[FLAG_TIME] > 0;
    if (is_last || stops || is_late || flags[FLAG_SAVE] > 0 ||
        (c->checkpoint_interval_steps > 0 && t->state.step % c->checkpoint_interval_steps == 0))
      SYZ_TRY(save(t));
    if (!is_last && (stops || is_late)) {
      reason = is_late && !stops ? "time limit" : syz_stop_reason();
      break;
    }
  }
  syz_progress_end(&progress, t->state.step);
  SYZ_REQUIRE(!reason, SYZ_STOPPED, "stopped after step %" PRId64 " of %" PRId64 " (%s)", t->state.step, c->steps, reason ? reason : "");
cleanup:
  if (st == SYZ_STOPPED && reason) /* without: while the objective began, which has said so */
    syz_info("stopped after step %" PRId64 " of %" PRId64 " (%s); run the same command again to go on", t->state.step, c->steps, reason);
  return st;
}

/* Whether model.h5 is of the checkpoint that the run goes on from: not when the run ended between the two. Rank 0. */
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

syz_status syz_train_run(const syz_train_config *config, const syz_grid *grid, syz_model *model, const syz_compute *compute, syz_objective *objective,
                         syz_timing *timing)
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
               .validation = {.fd = -1}};
  SYZ_TRY(create(&t));
  SYZ_TRY(checkpoint_resume(&t.store, &t.state, &found));
  if (found) syz_model_pack(model, false);
  if (found && objective->updated) objective->updated(objective->self, -1);
  SYZ_TRY(path_in_folder(&t, "model.h5", path));
  has_model = t.is_first && found && model_is_newer(&t, path);
  syz_bcast(t.world, &has_model, sizeof has_model, 0);
  if (found && t.state.step >= config->steps && has_model) SYZ_TRY(check_model(&t, path, &is_done));
  if (is_done) {
    syz_info("this run is done: %" PRId64 " steps, %s (raise train.steps to go on, or choose another output.dir)", t.state.step, path);
    goto cleanup;
  }
  SYZ_TRY_ALL(t.world, open_metrics(&t));
  SYZ_TRY(run(&t));
  /* model.h5 last: where it is, the other is as well. */
  if (result_of(&t) != model) SYZ_TRY(write_model(&t, model, "model-student.h5"));
  SYZ_TRY(write_model(&t, result_of(&t), "model.h5"));
  syz_info("wrote %s after %" PRId64 " steps", path, t.state.step);
cleanup:
  destroy(&t);
  return st;
}
