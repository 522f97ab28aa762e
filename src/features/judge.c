/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Validation of an image tower in training, by nearest neighbours. Objects of the training split are the index, objects
 * of the test split the queries; both are chosen once, evenly spaced through their splits, so that every validation
 * uses the same objects. Pixels are read again each time: a thread reads them while the tower computes, and a run at
 * full size has no memory for thousands of images.
 *
 * Work is divided evenly among ranks; then all features are gathered (a few MB) for the exact search, which gives the
 * same bits on any number of ranks.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "patches.h"
#include "syzygy/features.h"
#include "syzygy/figures.h"

enum { TARGETS_MAX = 8 };

typedef struct target {
  char label[SYZ_LABEL_NAME];
  int classes;               /* 0: a regression target */
  float *value, *prediction; /* [rows] */
} target;

/* Scores of one set of features. */
typedef struct knowledge {
  double r2[TARGETS_MAX], accuracy[TARGETS_MAX], balanced[TARGETS_MAX];
} knowledge;

typedef struct judge {
  syz_comm *comm;
  const syz_compute *compute; /* of the teacher */
  syz_compute *search;        /* for the first products of the exact search; their type affects only its speed */
  syz_model *teacher;
  syz_shardset *set[2];     /* training, test */
  int64_t n[2], *list[2];   /* objects of each */
  int64_t rows, first, own; /* number of rows, training objects before test objects; this rank's share */
  uint8_t *role;            /* [rows] */
  int64_t neighbours, batch;
  int n_targets;
  target target[TARGETS_MAX];
  bool has_pixels;
  knowledge start, pixels; /* baselines */
  int64_t width;           /* width of the class token */
  float *mine, *all;       /* [own, width], [rows, width] */
  size_t *bytes;           /* [ranks] */
} judge;

/* ----------------------------------------------------------------- labels */

/* Keys of labels to predict: numbers, classes. */
static const char *const label_key[2] = {"validate.regress", "validate.classify"};

static bool is_derived(const syz_shardset *const set[2], const char *name)
{
  return strcmp(name, "morphology") == 0 && !syz_shardset_has_label(set[0], name) &&
         !syz_shardset_has_label(set[1], name);
}

static bool is_there(const syz_shardset *const set[2], const char *name)
{
  if (!is_derived(set, name)) return syz_shardset_has_label(set[0], name) && syz_shardset_has_label(set[1], name);
  return is_there(set, "is_merger") && is_there(set, "n_arms") && is_there(set, "bulge_fraction");
}

syz_status syz_judge_check(const syz_judge_options *o, const syz_shardset *train, const syz_shardset *test)
{
  syz_status st = SYZ_OK;
  const syz_shardset *const set[2] = {train, test};
  int figures = 1, targets = 0;
  if (!test || o->train_objects == 0) return SYZ_OK;
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < o->label[k].n; i++) {
      const char *key = label_key[k], *name = o->label[k].item[i];
      SYZ_REQUIRE(strlen(name) < SYZ_LABEL_NAME - 1 && strlen(name) + 28 < SYZ_FIGURE_NAME, SYZ_ERR_INPUT,
                  "%s: the name \"%s\" is too long", key, name);
      SYZ_REQUIRE(is_there(set, name) || !o->is_given[k], SYZ_ERR_INPUT,
                  "%s: no label/%s in data.path (in both splits)", key, name);
      if (!is_there(set, name)) continue;
      targets++;
      figures += k ? 6 : 3; /* the tower's, and those of two baselines */
    }
  SYZ_REQUIRE(targets <= TARGETS_MAX && figures <= SYZ_FIGURES_MAX, SYZ_ERR_INPUT,
              "validate.regress and validate.classify: %d labels with %d figures, at most %d with %d are possible: "
              "name fewer labels",
              targets, figures, (int)TARGETS_MAX, (int)SYZ_FIGURES_MAX);
cleanup:
  return st;
}

/* Read one label of the listed objects. Collective. */
static syz_status read_label(judge *j, int which, const char *name, float *out)
{
  syz_status st = SYZ_OK;
  float *column = syz_alloc("label", (size_t)syz_shardset_size(j->set[which]), sizeof *column);
  SYZ_TRY_ALL(j->comm, column ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_shardset_read_label(j->set[which], name, column));
  for (int64_t i = 0; i < j->n[which]; i++) out[i] = column[j->list[which][i]];
cleanup:
  syz_free(&column);
  return st;
}

static syz_status derive_morphology(judge *j, int which, float *out)
{
  syz_status st = SYZ_OK;
  const int64_t n = j->n[which];
  float *merger = syz_alloc("label", (size_t)n, sizeof *merger), *arms = syz_alloc("label", (size_t)n, sizeof *arms);
  float *bulge = syz_alloc("label", (size_t)n, sizeof *bulge);
  SYZ_TRY_ALL(j->comm, merger && arms && bulge ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(read_label(j, which, "is_merger", merger));
  SYZ_TRY(read_label(j, which, "n_arms", arms));
  SYZ_TRY(read_label(j, which, "bulge_fraction", bulge));
  for (int64_t i = 0; i < n; i++) {
    const bool is_unknown = isnan(merger[i]) || isnan(arms[i]) || isnan(bulge[i]);
    out[i] = is_unknown ? NAN : merger[i] > 0.5f ? 3 : arms[i] > 0 ? 2 : bulge[i] > 0.5f ? 0 : 1;
  }
cleanup:
  syz_free(&merger);
  syz_free(&arms);
  syz_free(&bulge);
  return st;
}

/* Whether enough values of a label are known in both sets. */
static bool is_known(const judge *j, const target *t)
{
  int64_t n[2] = {0};
  for (int64_t i = 0; i < j->rows; i++) n[i >= j->n[0]] += !isnan(t->value[i]);
  return n[0] > 0 && n[1] > 1;
}

/* Check that values are whole numbers from 0, and count the classes. */
static syz_status count_classes(const judge *j, target *t)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < j->rows; i++) {
    const float v = t->value[i];
    if (isnan(v)) continue;
    SYZ_REQUIRE(v >= 0 && v < SYZ_CLASSES_MAX && v == floorf(v), SYZ_ERR_INPUT,
                "validate.classify: label/%s holds %g, expected whole numbers from 0 to %d", t->label, (double)v,
                SYZ_CLASSES_MAX - 1);
    if ((int)v >= t->classes) t->classes = (int)v + 1;
  }
cleanup:
  return st;
}

static syz_status add_target(judge *j, const char *key, const char *name, bool is_given, bool is_class)
{
  syz_status st = SYZ_OK;
  target *t = &j->target[j->n_targets];
  const syz_shardset *const set[2] = {j->set[0], j->set[1]};
  if (!is_there(set, name)) {
    syz_info("%s: no label/%s in the data: left out", key, name);
    goto cleanup;
  }
  snprintf(t->label, sizeof t->label, "%s", name);
  t->value = syz_alloc("labels", (size_t)j->rows, sizeof *t->value);
  t->prediction = syz_alloc("predictions", (size_t)j->rows, sizeof *t->prediction);
  j->n_targets++;
  SYZ_TRY_ALL(j->comm, t->value && t->prediction ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int s = 0; s < 2; s++) {
    float *out = t->value + (s ? j->n[0] : 0);
    SYZ_TRY(is_derived(set, name) ? derive_morphology(j, s, out) : read_label(j, s, name, out));
  }
  if (!is_known(j, t)) {
    SYZ_REQUIRE(!is_given, SYZ_ERR_INPUT, "%s: label/%s is unknown for (nearly) all chosen objects", key, name);
    syz_info("%s: label/%s is unknown for (nearly) all chosen objects: left out", key, name);
    syz_free(&t->value);
    syz_free(&t->prediction);
    *t = (target){.classes = 0};
    j->n_targets--;
    goto cleanup;
  }
  if (is_class) SYZ_TRY_ALL(j->comm, count_classes(j, t));
cleanup:
  return st;
}

static syz_status add_targets(judge *j, const syz_judge_options *o)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_judge_check(o, j->set[0], j->set[1]));
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < o->label[k].n; i++)
      SYZ_TRY(add_target(j, label_key[k], o->label[k].item[i], o->is_given[k], k == 1));
cleanup:
  return st;
}

/* --------------------------------------------------------------- features */

typedef struct collector {
  const judge *j;
  int64_t at;    /* this rank's row of the first listed object */
  float *pixels; /* [own, 3 size^2] or NULL */
} collector;

static void collect(void *context, int64_t at, int64_t n, const void *tokens, const float *planes)
{
  const collector *c = context;
  const judge *j = c->j;
  const syz_model_config *config = syz_model_get_config(j->teacher);
  const int64_t all = syz_model_tokens(config, SYZ_IMAGE), pixels = syz_model_input(config, SYZ_IMAGE);
  const syz_dtype act = syz_compute_act(j->compute);
  for (int64_t i = 0; i < n; i++)
    syz_convert_to_f32(act, j->mine + (c->at + at + i) * j->width,
                       (const unsigned char *)tokens + (size_t)(i * all * j->width) * syz_dtype_size(act), j->width);
  if (c->pixels) memcpy(c->pixels + (c->at + at) * pixels, planes, (size_t)(n * pixels) * sizeof *planes);
}

/* Class tokens of this rank's rows; training objects first. */
static syz_status run_teacher(judge *j, float *pixels, const char *what)
{
  syz_status st = SYZ_OK;
  const int64_t border = j->n[0];
  const int64_t from = j->first < border ? j->first : border,
                to = j->first + j->own < border ? j->first + j->own : border;
  collector c = {j, 0, pixels};
  if (to > from)
    SYZ_TRY(
        syz_features_run(j->teacher, j->compute, j->set[0], j->batch, to - from, j->list[0] + from, what, collect, &c));
  c.at = to > from ? to - from : 0;
  const int64_t test_first = j->first > border ? j->first - border : 0, test_n = j->own - c.at;
  if (test_n > 0)
    SYZ_TRY(syz_features_run(j->teacher, j->compute, j->set[1], j->batch, test_n, j->list[1] + test_first, what,
                             collect, &c));
cleanup:
  return st;
}

static bool is_finite(const float *x, int64_t n)
{
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return false;
  return true;
}

/* Score the features of all rows: mine [own, width] of this rank; writes all [rows, width]. Collective; agreed.
 */
static syz_status evaluate(judge *j, int64_t width, const float *mine, float *all, knowledge *out)
{
  const syz_knn_options options = {.metric = SYZ_METRIC_EUCLIDEAN, .n_k = 1, .k = {j->neighbours}};
  syz_status st = SYZ_OK;
  int64_t from, n;
  syz_knn_target ask[TARGETS_MAX];
  const int size = syz_comm_size(j->comm);
  for (int r = 0; r < size; r++) {
    syz_share(j->rows, size, r, &from, &n);
    j->bytes[r] = (size_t)(n * width) * sizeof *mine;
  }
  syz_allgatherv(j->comm, mine, all, j->bytes);
  for (int t = 0; t < j->n_targets; t++) {
    out->r2[t] = out->accuracy[t] = out->balanced[t] = NAN;
    ask[t] = (syz_knn_target){j->target[t].classes, j->target[t].value, j->target[t].prediction};
  }
  if (!is_finite(all, j->rows * width)) goto cleanup; /* the training loop will end the run for this reason */
  syz_index_share(j->rows, size, syz_comm_rank(j->comm), &from, &n);
  SYZ_TRY(
      syz_knn_predict(j->comm, j->search, j->rows, width, all + from * width, j->role, &options, j->n_targets, ask));
  for (int t = 0; t < j->n_targets; t++) {
    const target *g = &j->target[t];
    int64_t count[SYZ_CLASSES_MAX * SYZ_CLASSES_MAX] = {0}, known = 0;
    for (int64_t i = j->n[0]; i < j->rows; i++) {
      if (isnan(g->value[i]) || isnan(g->prediction[i])) continue;
      if (g->classes) count[(int)g->value[i] * g->classes + (int)g->prediction[i]]++;
      g->prediction[known] = g->prediction[i]; /* earlier entries are training rows, or already moved */
      all[known++] = g->value[i];
    }
    if (g->classes) {
      syz_class_figures f;
      syz_class_score(count, g->classes, &f);
      out->accuracy[t] = f.accuracy;
      out->balanced[t] = f.balanced_accuracy;
    } else {
      out->r2[t] = syz_r_squared(all, g->prediction, known);
    }
  }
cleanup:
  return st;
}

/* -------------------------------------------------------------- baselines */

/* Baseline for the tower: neighbours in leading principal components of the pixels. */
static syz_status judge_pixels(judge *j, const float *pixels, int64_t components)
{
  syz_status st = SYZ_OK;
  const int64_t width = syz_model_input(syz_model_get_config(j->teacher), SYZ_IMAGE);
  const int64_t train = j->first + j->own <= j->n[0] ? j->own : j->first < j->n[0] ? j->n[0] - j->first : 0;
  syz_array_rows array = {SYZ_F32, pixels, width};
  const syz_rows rows = {train, width, &array, syz_array_rows_read};
  const syz_pca_options options = {.components = components, .scalapack_from = 4096};
  syz_pca *pca = NULL;
  float *mine = NULL, *all = NULL;
  SYZ_TRY(syz_pca_fit(j->comm, &rows, &options, &pca));
  if (pca->components == 0) goto cleanup; /* all images are the same */
  mine = syz_alloc("components of pixels", (size_t)(j->own * pca->components + 1), sizeof *mine);
  all = syz_alloc("components of pixels", (size_t)(j->rows * pca->components), sizeof *all);
  SYZ_TRY_ALL(j->comm, mine && all ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_pca_project(pca, j->own, pixels, mine);
  SYZ_TRY(evaluate(j, pca->components, mine, all, &j->pixels));
  j->has_pixels = true;
cleanup:
  syz_pca_destroy(&pca);
  syz_free(&mine);
  syz_free(&all);
  return st;
}

static void log_knowledge(const judge *j, const char *who, const knowledge *k)
{
  char text[512];
  size_t n = (size_t)snprintf(text, sizeof text, "%s:", who);
  for (int t = 0; t < j->n_targets && n + 120 < sizeof text; t++)
    n += j->target[t].classes
             ? (size_t)snprintf(text + n, sizeof text - n, " %s accuracy %.4f (balanced %.4f)", j->target[t].label,
                                k->accuracy[t], k->balanced[t])
             : (size_t)snprintf(text + n, sizeof text - n, " %s R2 %.4f", j->target[t].label, k->r2[t]);
  syz_info("%s", text);
}

static syz_status make_baselines(judge *j, int64_t components)
{
  syz_status st = SYZ_OK;
  char who[64];
  const int64_t width = syz_model_input(syz_model_get_config(j->teacher), SYZ_IMAGE);
  float *pixels = NULL;
  if (components > 0) {
    pixels = syz_alloc("pixels", (size_t)(j->own * width + 1), sizeof *pixels);
    SYZ_TRY_ALL(j->comm, pixels ? SYZ_OK : SYZ_ERR_MEMORY);
  }
  SYZ_TRY_ALL(j->comm, run_teacher(j, pixels, "baselines"));
  SYZ_TRY(evaluate(j, j->width, j->mine, j->all, &j->start));
  log_knowledge(j, "before training", &j->start);
  if (components > 0) SYZ_TRY(judge_pixels(j, pixels, components));
  snprintf(who, sizeof who, "%" PRId64 " components of the pixels", components);
  if (j->has_pixels) log_knowledge(j, who, &j->pixels);
cleanup:
  syz_free(&pixels);
  return st;
}

/* ------------------------------------------------------------------ figures */

static void add(syz_validation *v, const char *who, const char *label, const char *what, double value)
{
  SYZ_ASSERT(v->n < SYZ_FIGURES_MAX);
  snprintf(v->name[v->n], SYZ_FIGURE_NAME, "%s_%s_%s", who, label, what);
  v->value[v->n++] = value;
}

static void add_all(const judge *j, syz_validation *v, const char *who, const knowledge *k)
{
  for (int t = 0; t < j->n_targets; t++) {
    const target *g = &j->target[t];
    if (g->classes) {
      add(v, who, g->label, "accuracy", k->accuracy[t]);
      add(v, who, g->label, "balanced_accuracy", k->balanced[t]);
    } else {
      add(v, who, g->label, "r2", k->r2[t]);
    }
  }
}

/* Smaller is better: the unexplained variance of regressions; without any, the share of wrong classes. A label that is
 * constant has no R^2. */
static double error_of(const judge *j, const knowledge *k)
{
  double numbers = 0, classes = 0, r2 = 0, accuracy = 0;
  for (int t = 0; t < j->n_targets; t++) {
    if (j->target[t].classes) {
      classes++;
      accuracy += k->accuracy[t];
    } else if (!isnan(j->start.r2[t])) {
      numbers++;
      r2 += k->r2[t];
    }
  }
  return 1 - (numbers > 0 ? r2 / numbers : accuracy / classes);
}

static syz_status judge_step(void *context, int64_t step, syz_validation *out)
{
  syz_status st = SYZ_OK;
  judge *j = context;
  knowledge now;
  (void)step;
  syz_model_pack(j->teacher, false);
  SYZ_TRY_ALL(j->comm, run_teacher(j, NULL, NULL));
  SYZ_TRY(evaluate(j, j->width, j->mine, j->all, &now));
  snprintf(out->name[out->n], SYZ_FIGURE_NAME, "knn_error"); /* the objective's own figures may come before it */
  out->value[out->n++] = error_of(j, &now);
  add_all(j, out, "knn", &now);
  add_all(j, out, "start", &j->start);
  if (j->has_pixels) add_all(j, out, "pixels", &j->pixels);
cleanup:
  return st;
}

/* ----------------------------------------------------------------- making */

size_t syz_judge_bytes(const syz_judge_options *o, const syz_model *teacher)
{
  if (o->train_objects == 0) return 0;
  const syz_model_config *config = syz_model_get_config(teacher);
  const size_t image = (size_t)syz_model_input(config, SYZ_IMAGE) * sizeof(float);
  /* Three batches are read ahead. */
  return syz_tower_plan_bytes(teacher, SYZ_IMAGE, o->batch, SYZ_MODE_EMBED) + 3 * (size_t)o->batch * image;
}

static syz_status choose_objects(judge *j, const syz_judge_options *o)
{
  syz_status st = SYZ_OK;
  const int64_t wanted[2] = {o->train_objects, o->test_objects};
  for (int s = 0; s < 2; s++) {
    SYZ_ALLOC(j->list[s], "objects", wanted[s] + 1);
    j->n[s] = syz_choose_images(j->set[s], wanted[s], j->list[s]);
  }
  j->rows = j->n[0] + j->n[1];
  j->width = syz_model_get_config(j->teacher)->image.dim;
  syz_share(j->rows, syz_comm_size(j->comm), syz_comm_rank(j->comm), &j->first, &j->own);
  SYZ_ALLOC(j->role, "roles", j->rows);
  SYZ_ALLOC(j->bytes, "shares", syz_comm_size(j->comm));
  SYZ_ALLOC(j->mine, "class tokens", j->own * j->width + 1);
  SYZ_ALLOC(j->all, "class tokens", j->rows * j->width + 1);
  for (int64_t i = 0; i < j->rows; i++) j->role[i] = i < j->n[0] ? SYZ_ROLE_TRAIN : SYZ_ROLE_TEST;
cleanup:
  return st;
}

static void judge_free(judge **jp)
{
  judge *j = *jp;
  if (!j) return;
  for (int s = 0; s < 2; s++) syz_free(&j->list[s]);
  for (int t = 0; t < TARGETS_MAX; t++) {
    syz_free(&j->target[t].value);
    syz_free(&j->target[t].prediction);
  }
  syz_free(&j->role);
  syz_free(&j->bytes);
  syz_free(&j->mine);
  syz_free(&j->all);
  syz_compute_destroy(&j->search);
  syz_free(jp);
}

syz_status syz_judge_create(const syz_run *run, const syz_judge_options *o, const syz_compute *compute,
                            syz_model *teacher, syz_shardset *train, syz_shardset *test, syz_judge *out)
{
  syz_status st = SYZ_OK;
  syz_comm *c = run->world;
  judge *j = NULL;
  *out = (syz_judge){0};
  if (!test || o->train_objects == 0) {
    syz_info("no validation by neighbours: %s", test ? "validate.train_objects is 0" : "no objects are held out");
    return SYZ_OK;
  }
  syz_timing_begin(run->timing, "baselines");
  j = syz_alloc("judge", 1, sizeof *j);
  SYZ_TRY_ALL(c, j ? SYZ_OK : SYZ_ERR_MEMORY);
  *j = (judge){.comm = c, .compute = compute, .teacher = teacher, .set = {train, test}};
  j->neighbours = o->neighbours;
  SYZ_TRY_ALL(c, choose_objects(j, o));
  j->batch = o->batch < j->own ? o->batch : j->own > 0 ? j->own : 1;
  if (j->n[0] > 0 && j->n[1] > 1) SYZ_TRY(add_targets(j, o));
  if (j->n_targets == 0) {
    syz_info("no validation by neighbours: %s",
             j->n[0] > 0 && j->n[1] > 1 ? "none of its labels is in the data" : "too few images");
    goto cleanup;
  }
  SYZ_TRY_ALL(c, syz_compute_create(SYZ_F32, SYZ_ENGINE_BLIS, o->threads, &j->search));
  SYZ_TRY_ALL(c, syz_tower_plan(teacher, SYZ_IMAGE, j->batch, SYZ_MODE_EMBED));
  syz_info("validation by %" PRId64 " neighbours of the class token: %" PRId64 " held-out objects among %" PRId64,
           j->neighbours, j->n[1], j->n[0]);
  SYZ_TRY(make_baselines(j, o->pixel_components));
  *out = (syz_judge){j, judge_step};
  j = NULL;
cleanup:
  syz_timing_end(run->timing);
  judge_free(&j);
  return st;
}

void syz_judge_destroy(syz_judge *judged)
{
  judge *j = judged->context;
  judge_free(&j);
  *judged = (syz_judge){0};
}
