/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A step: forward (loss of the global batch), one small reduction of all ranks' status and requests to stop, backward
 * pass with concurrent gradient sums, norms; if loss or norm is unexpected, the same again (verify.c); AdamW on this
 * rank's slices, which also sends the new weights; the objective's own update (a teacher); one line of metrics.
 *
 * What is computed is a function of weights, arrays of the objective, seed and step alone, so a second computation
 * gives the same bits. It starts only from data that digests cover or that is on disk: weights are packed again,
 * objects read again. Tokens of frozen towers are compared with their tags each time they are read.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gradients.h"
#include "trainer.h"

enum { ATTEMPTS = 5 /* computations of one step */ };

static void ask(const trainer *t, syz_status local, double *flags)
{
  const syz_train_config *c = t->config;
  memset(flags, 0, FLAGS * sizeof *flags);
  flags[FLAG_STATUS] = (double)local;
  flags[FLAG_STOP] = syz_stop_asked(t->world, c->folder);
  if (!t->is_first) return;
  const double now = syz_clock_s();
  flags[FLAG_SAVE] = c->checkpoint_interval_s > 0 && now - t->saved_s >= c->checkpoint_interval_s;
  /* Stop while there is still time for a step, a validation and a checkpoint of the usual length. */
  const double needed_s = 2 * t->longest_step_s + t->longest_validation_s + 2 * t->store.write_s;
  flags[FLAG_TIME] = c->time_limit_s > 0 && syz_clock_since_start_s() + needed_s >= c->time_limit_s;
}

/* Names the parameter whose gradient is not finite; false when none of this rank's towers has one. */
static bool describe_gradients(trainer *t, char *text, size_t room)
{
  int n_parameters = 0;
  const syz_parameter *table = syz_model_parameters(t->model, &n_parameters);
  const float *g = syz_gradients_block(t->gradients);
  for (int i = 0; i < n_parameters; i++) {
    if (!syz_parameter_trains(&table[i], t->config->trains_backbones)) continue;
    if (isfinite(syz_sum_of_squares(g + table[i].offset, table[i].size, 1))) continue;
    snprintf(text, room, "the gradient of %s is not finite", table[i].name);
    return true;
  }
  return false;
}

/* The rate, decay and scales of the step's update. */
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

/* One computation of a step, up to the gradient norm. */
typedef struct computed {
  syz_step_result result;
  update u;
  bool is_odd, is_finite; /* the same on every rank */
} computed;

/* The flag of a loss or norm that is not finite; that of a jump is 1. The largest over the ranks decides, so that all
 * ranks end the step alike. */
enum { NOT_FINITE = 2 };

/* Sets this rank's flags about the loss for the step's reduction. */
static void ask_of_loss(const trainer *t, double loss, double *flags)
{
  const bool is_finite = isfinite(loss);
  flags[FLAG_ODD] = is_finite ? 0 : NOT_FINITE;
  if (!t->digests) return;
  flags[FLAG_DAMAGE] = (double)digests_found(t->digests);
  if (is_finite) flags[FLAG_ODD] = verify_is_jump(&t->past, &t->past.loss, loss);
  flags[FLAG_HIGH] = is_finite ? loss : 0;
  flags[FLAG_LOW] = is_finite ? -loss : 0;
}

/* The same for the gradient norm, which becomes NaN on all ranks when it is not finite on one. Collective. */
static bool is_norm_odd(const trainer *t, double *norm)
{
  enum { ODD, HIGH, LOW, ALL };
  const bool is_finite = isfinite(*norm);
  double all[ALL] = {NOT_FINITE, is_finite ? *norm : 0, is_finite ? -*norm : 0};
  if (is_finite) all[ODD] = verify_is_jump(&t->past, &t->past.norm, verify_log(*norm));
  syz_allreduce_f64(t->world, all, ALL, SYZ_MAX);
  if (all[ODD] >= NOT_FINITE && is_finite) *norm = NAN;
  return all[ODD] > 0 || all[HIGH] != -all[LOW];
}

/* Forward, backward, sums, norm. Collective; agreed. flags: result of the step's reduction; sets goes_back if it
 * reports damaged memory. */
static syz_status compute(trainer *t, double *flags, computed *out)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  syz_objective *o = t->objective;
  const syz_train_config *c = t->config;
  const int64_t s = t->state.step;
  uint64_t draw;
  *out = (computed){.u = {.lr = syz_schedule_lr(s, c->lr, c->lr_min, c->warmup_steps, c->steps),
                          .weight_decay = c->weight_decay,
                          .norm = NAN}};
  gradients_begin(t->gradients);
  memset(t->scalars.gradient, 0, sizeof t->scalars.gradient);
  local = o->forward(o->self, s, t->scalars.value, &out->result);
  if (syz_flip("loss", &draw)) out->result.loss = NAN; /* on this rank alone */
  if (local == SYZ_OK) local = t->carried;
  ask(t, local, flags);
  ask_of_loss(t, out->result.loss, flags);
  flags[FLAG_WAIT] = out->result.wait_s;
  syz_timing_begin(t->timing, "agreement");
  syz_allreduce_f64(t->world, flags, FLAGS, SYZ_MAX);
  syz_timing_end(t->timing);
  if (flags[FLAG_STATUS] > 0) SYZ_TRY(syz_agree(t->world, local));
  t->goes_back = flags[FLAG_DAMAGE] > 0;
  out->is_odd = flags[FLAG_ODD] > 0 || flags[FLAG_HIGH] != -flags[FLAG_LOW];
  if (flags[FLAG_ODD] >= NOT_FINITE && isfinite(out->result.loss)) out->result.loss = NAN; /* on another rank */
  if (t->goes_back || !isfinite(out->result.loss)) goto cleanup;
  local = o->backward(o->self, s, t->gradients, t->scalars.gradient);
  syz_timing_begin(t->timing, "gradient sums");
  gradients_finish(t->gradients);
  syz_timing_end(t->timing);
  syz_timing_begin(t->timing, "optimiser");
  if (t->digests) digests_plant_gradient(t->digests, "gradient", syz_gradients_block(t->gradients));
  if (c->weight_decay_end != c->weight_decay)
    out->u.weight_decay = syz_schedule_cosine(s, c->weight_decay, c->weight_decay_end, c->steps);
  out->u.norm = optimiser_norm(&t->parts, syz_gradients_block(t->gradients), &t->scalars, local == SYZ_OK ? 0 : NAN,
                               t->threads, out->u.group);
  if (t->digests && is_norm_odd(t, &out->u.norm)) out->is_odd = true;
  syz_timing_end(t->timing);
  out->is_finite = isfinite(out->u.norm);
  if (!out->is_finite)
    SYZ_TRY(syz_agree(t->world, local)); /* the backward pass failed for another reason than its numbers */
cleanup:
  return st;
}

static signature sign(const trainer *t, const computed *c)
{
  signature s = {.result = c->result, .norm = c->u.norm};
  memcpy(s.group, c->u.group, sizeof s.group);
  memcpy(s.scalar, t->scalars.gradient, sizeof s.scalar);
  if (isfinite(c->result.loss)) s.own = digests_of_gradient(t->digests, syz_gradients_block(t->gradients), &s.whole);
  return s;
}

syz_status trainer_begin_again(trainer *t)
{
  syz_model_pack(t->model, false);
  if (t->objective->updated) t->objective->updated(t->objective->self, -1);
  return t->objective->begin(t->objective->self, t->state.step, t->config->steps);
}

/* Whether damage was found on any rank. Collective. */
static bool is_damaged(trainer *t)
{
  int64_t found = (int64_t)digests_found(t->digests);
  syz_allreduce_i64(t->world, &found, 1, SYZ_MAX);
  return found > DIGEST_SOUND;
}

/* Computes an unexpected step again until two computations agree; *c, with its gradients, is their result. Otherwise
 * sets goes_back. Collective; agreed. */
static syz_status compute_again(trainer *t, double *flags, computed *c)
{
  syz_status st = SYZ_OK;
  signature tried[ATTEMPTS];
  char text[VERIFY_TEXT];
  const double loss = c->result.loss, norm = c->u.norm;
  int n = 1, same = -1;
  digests_check_all(t->digests);
  t->goes_back = is_damaged(t);
  if (t->goes_back) return st;
  t->repeated++;
  tried[0] = sign(t, c);
  for (; n < ATTEMPTS && same < 0; n++) {
    SYZ_TRY(trainer_begin_again(t));
    SYZ_TRY(compute(t, flags, c));
    if (t->goes_back) return st;
    tried[n] = sign(t, c);
    for (int k = n - 1; k >= 0 && same < 0; k--)
      if (verify_is_same(t->world, &tried[k], &tried[n], text)) same = k;
  }
  t->goes_back = same < 0;
  if (t->goes_back) {
    snprintf(t->wrong, sizeof t->wrong, "%d computations all gave different results: %s", n, text);
  } else if (n == 2) {
    if (t->past.bound > 0)
      syz_info("step %" PRId64 ": loss %.5g (%.5g was expected), gradient norm %.4g: computed again with the same bits",
               t->state.step, loss, t->past.loss.level + t->past.loss.trend, norm);
  } else {
    verify_is_same(t->world, &tried[same == 0 ? 1 : 0], &tried[n - 1], text);
    syz_warn("step %" PRId64 ": a computation gave loss %.9g and gradient norm %.9g; two others gave loss %.9g and "
             "gradient norm %.9g, which is used; %s: a processor or its memory made an error there",
             t->state.step, loss, norm, c->result.loss, c->u.norm, text);
  }
cleanup:
  return st;
}

/* The step is not finite, on every rank and in repeated computations. Collective. */
static syz_status refuse(trainer *t, const computed *c)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  const int64_t s = t->state.step;
  char text[1024] = "";
  if (!isfinite(c->result.loss)) {
    t->objective->describe(t->objective->self, s, text, sizeof text);
    SYZ_REQUIRE(false, SYZ_ERR_NUMERIC, "step %" PRId64 ": the loss is %g%s%s", s, c->result.loss, text[0] ? ": " : "",
                text);
  }
  if (describe_gradients(t, text, sizeof text))
    local =
        syz_error_set(SYZ_ERR_NUMERIC, __FILE__, __LINE__, "step %" PRId64 ": %s (loss %g)", s, text, c->result.loss);
  SYZ_TRY(syz_agree(t->world, local));
  SYZ_REQUIRE(false, SYZ_ERR_NUMERIC, "step %" PRId64 ": the gradient norm is not finite (loss %g)", s, c->result.loss);
cleanup:
  return st;
}

/* Updates the weights by the computed gradients. Collective. */
static void apply(trainer *t, const update *u)
{
  const syz_train_config *c = t->config;
  const int64_t s = t->state.step;
  const syz_adamw rule = {
      .lr = u->lr, .beta1 = c->beta1, .beta2 = c->beta2, .eps = c->eps, .weight_decay = u->weight_decay};
  double scale[SYZ_CLIP_GROUPS];
  for (int i = 0; i < SYZ_CLIP_GROUPS; i++) scale[i] = optimiser_clip(u->group[i], c->clip_grad_norm);
  syz_timing_begin(t->timing, "optimiser");
  if (t->digests) {
    digests_plant_gradient(t->digests, "summed", syz_gradients_block(t->gradients));
    digests_check_scalars(t->digests);
  }
  optimiser_update(&t->parts, &rule, s + 1, scale, t->state.weights, syz_gradients_block(t->gradients), &t->scalars,
                   t->threads);
  if (t->digests) digests_note_scalars(t->digests);
  syz_model_pack(t->model, !c->trains_backbones);
  syz_timing_end(t->timing);
  if (!t->objective->updated) return;
  if (t->digests) digests_check_arrays(t->digests);
  t->objective->updated(t->objective->self, s);
  if (t->digests) digests_note_arrays(t->digests);
}

syz_status trainer_step(trainer *t, double *flags)
{
  syz_status st = SYZ_OK;
  const syz_train_config *c = t->config;
  const int64_t s = t->state.step;
  const double start = syz_clock_s();
  computed now;
  if (c->at_step) SYZ_TRY(c->at_step(c->watcher, s));
  if (c->timing_from_step > 0 && s == c->timing_from_step) syz_timing_restart(t->timing);
  if (t->digests) digests_plant(t->digests);
  SYZ_TRY(compute(t, flags, &now));
  if (t->digests && now.is_odd && !t->goes_back) SYZ_TRY(compute_again(t, flags, &now));
  if (t->goes_back) goto cleanup;
  if (!now.is_finite) SYZ_TRY(refuse(t, &now));
  if (t->digests && (s + 1) % c->verify_every == 0) {
    syz_timing_begin(t->timing, "verification");
    digests_compare(t->digests);
    t->goes_back = is_damaged(t);
    syz_timing_end(t->timing);
    if (t->goes_back) goto cleanup;
  }
  apply(t, &now.u);
  verify_learn(&t->past, now.result.loss, now.u.norm);
  t->state.step = s + 1;
  t->loss = now.result.loss;
  const double step_s = syz_clock_s() - start;
  if (step_s > t->longest_step_s) t->longest_step_s = step_s;
  report(t, &now.result, &now.u, flags[FLAG_WAIT], step_s);
cleanup:
  return st;
}
