/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The objects of a probe. Tables of all objects (identifier, position, labels, side) are whole on every rank, some ten
 * numbers per object; features stay distributed, each rank has those of its share.
 */
#include "sample.h"

#include <math.h>
#include <string.h>

#include "galaxy_zoo.h"
#include "syzygy/numbers.h"

enum { LEAST_TRAIN = 20 /* training objects of a label: fewer say nothing of it */ };

void sample_free(sample *s)
{
  syz_free(&s->id);
  syz_free(&s->ra);
  syz_free(&s->dec);
  syz_free(&s->role);
  syz_free(&s->passes);
  syz_free(&s->votes);
  syz_free(&s->test_row);
  syz_sides_free(&s->sides);
  for (int i = 0; i < s->n_sources; i++) syz_free(&s->source[i].x);
  for (int i = 0; i < s->n_labels; i++) syz_free(&s->label[i].value);
}

/* Identifiers and positions, whole on every rank; rank-local. */
static syz_status read_objects(sample *s, syz_embedding_set *set)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(s->id, "identifiers", s->rows);
  SYZ_ALLOC(s->ra, "positions", s->rows);
  SYZ_ALLOC(s->dec, "positions", s->rows);
  SYZ_ALLOC(s->role, "roles", s->rows);
  SYZ_ALLOC(s->passes, "roles", s->rows);
  SYZ_TRY(syz_embedding_set_ids(set, 0, s->rows, s->id));
  SYZ_TRY(syz_embedding_set_places(set, 0, s->rows, s->ra, s->dec));
cleanup:
  return st;
}

/* The files of training, then those of test. */
static syz_status open_set(const syz_run *run, const syz_probe_data *d, syz_embedding_set **set, int *n_train_files)
{
  syz_status st = SYZ_OK;
  const bool is_by_file = d->sides.rule == SYZ_SIDES_BY_FILE;
  const int n = d->embeddings.n + (is_by_file ? d->test_embeddings.n : 0);
  const char **path = syz_alloc("paths", (size_t)n + 1, sizeof *path);
  SYZ_TRY_ALL(run->world, path ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_REQUIRE(d->embeddings.n > 0, SYZ_ERR_INPUT,
              "probe.embeddings: name the embedding files (made by `syzygy embed`), or folders with one");
  SYZ_REQUIRE(!is_by_file || d->test_embeddings.n > 0, SYZ_ERR_INPUT,
              "probe.split: file, but probe.test_embeddings names no file of the test side");
  for (int i = 0; i < n; i++)
    path[i] = i < d->embeddings.n ? d->embeddings.item[i] : d->test_embeddings.item[i - d->embeddings.n];
  *n_train_files = d->embeddings.n;
  SYZ_TRY(syz_embedding_set_open(run->world, "probe.embeddings", n, path, set));
cleanup:
  syz_free(&path);
  return st;
}

/* Sides that are given: by file, or by a column. NULL otherwise. */
static syz_status given_sides(sample *s, const syz_embedding_set *set, int n_train_files, sample_columns *columns,
                              const syz_probe_data *d, uint8_t **given)
{
  syz_status st = SYZ_OK;
  double *value = NULL;
  *given = NULL;
  if (d->sides.rule != SYZ_SIDES_BY_FILE && d->sides.rule != SYZ_SIDES_BY_COLUMN) return SYZ_OK;
  *given = syz_alloc("sides", (size_t)s->rows, sizeof **given);
  value = syz_alloc("sides", (size_t)s->rows, sizeof *value);
  SYZ_TRY_ALL(s->comm, *given && value ? SYZ_OK : SYZ_ERR_MEMORY);
  if (d->sides.rule == SYZ_SIDES_BY_FILE) {
    const int64_t border = set->begin[n_train_files];
    for (int64_t i = 0; i < s->rows; i++) (*given)[i] = i < border ? SYZ_SIDE_TRAIN : SYZ_SIDE_TEST;
    goto cleanup;
  }
  SYZ_TRY(sample_columns_evaluate(columns, "probe.split_column", d->sides_column, value, NULL, NULL));
  for (int64_t i = 0; i < s->rows; i++) {
    SYZ_REQUIRE(isnan(value[i]) || value[i] == 0 || value[i] == 1, SYZ_ERR_DATA,
                "probe.split_column: %s is %g for object %lld; wanted 0 (train), 1 (test), or no value",
                d->sides_column, value[i], (long long)s->id[i]);
    (*given)[i] = isnan(value[i]) ? SYZ_SIDE_NONE : value[i] == 0 ? SYZ_SIDE_TRAIN : SYZ_SIDE_TEST;
  }
cleanup:
  syz_free(&value);
  return st;
}

/* Objects that the cut leaves out, and those that lack the features of a source, take no part. */
static syz_status assign_roles(sample *s, sample_columns *columns, const syz_probe_data *d)
{
  syz_status st = SYZ_OK;
  uint8_t *mine = syz_alloc("flags", (size_t)s->n + 1, sizeof *mine);
  double *cut = syz_alloc("cut", (size_t)s->rows, sizeof *cut);
  SYZ_TRY_ALL(s->comm, mine && cut ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < s->rows; i++) cut[i] = 1;
  if (d->cut[0]) SYZ_TRY(sample_columns_evaluate(columns, "probe.cut", d->cut, cut, NULL, NULL));
  for (int64_t i = 0; i < s->n; i++) {
    mine[i] = 1;
    for (int k = 0; k < s->n_sources; k++) mine[i] = mine[i] && !isnan(s->source[k].x[i * s->source[k].width]);
  }
  SYZ_TRY(syz_index_gather(s->comm, s->rows, mine, s->role));
  for (int64_t i = 0; i < s->rows; i++) {
    const uint8_t side = s->sides.side[i];
    const bool passes = cut[i] != 0 && !isnan(cut[i]);
    s->passes[i] = passes;
    s->cut += !passes;
    s->unusable += passes && !s->role[i];
    s->role[i] = (uint8_t)(!passes || !s->role[i]   ? SYZ_ROLE_NONE
                           : side == SYZ_SIDE_TRAIN ? SYZ_ROLE_TRAIN
                           : side == SYZ_SIDE_TEST  ? SYZ_ROLE_TEST
                                                    : SYZ_ROLE_NONE);
    s->train += s->role[i] == SYZ_ROLE_TRAIN;
    s->test += s->role[i] == SYZ_ROLE_TEST;
  }
  SYZ_REQUIRE(s->train >= 2 && s->test >= 2, SYZ_ERR_DATA,
              "probe: %lld training and %lld test objects are left of %lld (the cut leaves out %lld, %lld lack the "
              "features of a source)",
              (long long)s->train, (long long)s->test, (long long)s->rows, (long long)s->cut, (long long)s->unusable);
cleanup:
  syz_free(&mine);
  syz_free(&cut);
  return st;
}

static syz_status list_test_rows(sample *s)
{
  syz_status st = SYZ_OK;
  int64_t t = 0;
  SYZ_ALLOC(s->test_row, "test objects", s->test);
  for (int64_t i = 0; i < s->rows; i++)
    if (s->role[i] == SYZ_ROLE_TEST) s->test_row[t++] = i;
cleanup:
  return st;
}

/* ------------------------------------------------------------ labels */

/* Classes of the objects that take part are 0, 1, ..; how many there are. */
static syz_status count_classes(const sample *s, sample_label *l)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < s->rows; i++) {
    const double v = l->value[i];
    if (isnan(v) || s->role[i] == SYZ_ROLE_NONE) continue;
    SYZ_REQUIRE(v >= 0 && v < SYZ_CLASSES_MAX && v == floor(v), SYZ_ERR_DATA,
                "probe.classes: %s is %g for object %lld; classes are the whole numbers 0 .. %d", l->name, v,
                (long long)s->id[i], SYZ_CLASSES_MAX - 1);
    if ((int)v >= l->classes) l->classes = (int)v + 1;
  }
cleanup:
  return st;
}

/* Infinite values, also those that only float32 cannot hold, count as missing. Labels that say nothing of the training
 * objects, or have fewer of them than two for each fold, are left out, and that is said. */
static syz_status load_label(sample *s, sample_columns *columns, const char *formula, bool is_class, int64_t least)
{
  syz_status st = SYZ_OK;
  sample_label *l = &s->label[s->n_labels++];
  const char *key = is_class ? "probe.classes" : "probe.labels";
  *l = (sample_label){.name = formula};
  l->value = syz_alloc("label", (size_t)s->rows, sizeof *l->value);
  SYZ_TRY_ALL(s->comm, l->value ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(sample_columns_evaluate(columns, key, formula, l->value, &l->counts, l->unit));
  double low = INFINITY, high = -INFINITY;
  for (int64_t i = 0; i < s->rows; i++) {
    if (isinf((float)l->value[i])) l->value[i] = NAN;
    if (isnan(l->value[i]) || s->role[i] == SYZ_ROLE_NONE) continue;
    l->train += s->role[i] == SYZ_ROLE_TRAIN;
    l->test += s->role[i] == SYZ_ROLE_TEST;
    if (s->role[i] != SYZ_ROLE_TRAIN) continue;
    low = fmin(low, l->value[i]);
    high = fmax(high, l->value[i]);
  }
  if (is_class) SYZ_TRY_ALL(s->comm, count_classes(s, l));
  if (l->train >= least && l->test >= 2 && (float)low < (float)high) goto cleanup;
  syz_warn("%s is left out: %lld training and %lld test objects have a value (wanted: %lld and 2)%s", formula,
           (long long)l->train, (long long)l->test, (long long)least,
           l->train && !((float)low < (float)high) ? ", and all are equal in training" : "");
  syz_free(&l->value);
  s->n_labels--;
cleanup:
  return st;
}

static syz_status load_labels(sample *s, sample_columns *columns, const syz_probe_data *d, int folds)
{
  syz_status st = SYZ_OK;
  const int64_t least = 2 * folds > LEAST_TRAIN ? 2 * folds : LEAST_TRAIN;
  SYZ_REQUIRE(d->labels.n + d->classes.n <= SYZ_PROBE_LABELS, SYZ_ERR_INPUT,
              "probe.labels and probe.classes name %d labels; at most %d at once", d->labels.n + d->classes.n,
              SYZ_PROBE_LABELS);
  SYZ_REQUIRE(d->labels.n + d->classes.n > 0, SYZ_ERR_INPUT, "probe.labels: name a label to predict");
  for (int i = 0; i < d->labels.n; i++) SYZ_TRY(load_label(s, columns, d->labels.item[i], false, least));
  for (int i = 0; i < d->classes.n; i++) SYZ_TRY(load_label(s, columns, d->classes.item[i], true, least));
  SYZ_REQUIRE(s->n_labels > 0, SYZ_ERR_DATA, "probe: no label has enough values");
cleanup:
  return st;
}

/* Votes, and whether there are enough. */
static syz_status load_votes(sample *s, sample_columns *columns)
{
  syz_status st = SYZ_OK;
  int64_t train = 0, test = 0;
  s->votes = syz_alloc("votes", (size_t)s->rows * ZOO_ANSWERS, sizeof *s->votes);
  SYZ_TRY_ALL(s->comm, s->votes ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(sample_columns_votes(columns, s->votes));
  for (int64_t i = 0; i < s->rows; i++) {
    bool has_vote = false;
    for (int a = 0; a < ZOO_ANSWERS; a++) has_vote = has_vote || s->votes[i * ZOO_ANSWERS + a] > 0;
    train += has_vote && s->role[i] == SYZ_ROLE_TRAIN;
    test += has_vote && s->role[i] == SYZ_ROLE_TEST;
  }
  SYZ_REQUIRE(train >= 20 && test >= 2, SYZ_ERR_DATA,
              "votes: %lld training and %lld test objects have any; wanted are at least 20 and 2", (long long)train,
              (long long)test);
cleanup:
  return st;
}

static syz_status load_sources(sample *s, syz_embedding_set *set, sample_columns *columns, const syz_probe_data *d)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(d->sources.n >= 1 && d->sources.n <= SYZ_PROBE_SOURCES, SYZ_ERR_INPUT,
              "probe.sources: %d sources; wanted 1 to %d", d->sources.n, SYZ_PROBE_SOURCES);
  for (int i = 0; i < d->sources.n; i++) {
    s->n_sources = i + 1;
    SYZ_TRY(sample_source_load(s, set, columns, d, d->sources.item[i], &s->source[i]));
    if (s->source[i].missing)
      syz_info("%s: %lld of %lld objects have no such features, or some that are not finite or all zero",
               s->source[i].name, (long long)s->source[i].missing, (long long)s->rows);
  }
cleanup:
  return st;
}

syz_status sample_load(const syz_run *run, const syz_probe_data *d, sample_wants wants, sample *s)
{
  syz_status st = SYZ_OK;
  syz_embedding_set *set = NULL;
  sample_columns *columns = NULL;
  uint8_t *given = NULL;
  int n_train_files = 0;
  *s = (sample){.comm = run->world};
  SYZ_TRY(open_set(run, d, &set, &n_train_files));
  s->rows = set->rows;
  syz_index_share(s->rows, syz_comm_size(s->comm), syz_comm_rank(s->comm), &s->first, &s->n);
  SYZ_TRY_ALL(s->comm, read_objects(s, set));
  SYZ_TRY(sample_columns_open(s, set, d, &columns));
  SYZ_TRY(load_sources(s, set, columns, d));
  SYZ_TRY(given_sides(s, set, n_train_files, columns, d, &given));
  SYZ_TRY(syz_sides_make(s->comm, &d->sides, s->rows, s->id, s->ra, s->dec, given, &s->sides));
  SYZ_TRY(assign_roles(s, columns, d));
  SYZ_TRY_ALL(s->comm, list_test_rows(s));
  if (wants.labels) SYZ_TRY(load_labels(s, columns, d, wants.folds));
  if (wants.votes) SYZ_TRY(load_votes(s, columns));
cleanup:
  sample_columns_close(&columns);
  syz_embedding_set_close(&set);
  syz_free(&given);
  return st;
}

/* ------------------------------------------------------------ for the methods */

syz_rows sample_rows(const sample *s, int source, syz_array_rows *array)
{
  *array = (syz_array_rows){SYZ_F32, s->source[source].x, s->source[source].width};
  return (syz_rows){s->n, s->source[source].width, array, syz_array_rows_read};
}

uint64_t sample_name(const sample *s, int64_t row) { return s->id[row] > 0 ? (uint64_t)s->id[row] : ~(uint64_t)row; }

void sample_folds(const sample *s, uint64_t seed, int folds, uint8_t *fold)
{
  for (int64_t i = 0; i < s->n; i++) {
    const int64_t row = s->first + i;
    const syz_random r = syz_random_make(seed, SYZ_RANDOM_PROBE, 0, sample_name(s, row));
    fold[i] = s->role[row] == SYZ_ROLE_TRAIN ? (uint8_t)syz_random_below(&r, 0, (uint64_t)folds) : SYZ_FOLDS;
  }
}

bool sample_is_validation(const sample *s, uint64_t seed, double share, int64_t row)
{
  const syz_random r = syz_random_make(seed, SYZ_RANDOM_PROBE, 1, sample_name(s, row));
  return syz_random_uniform(&r, 0) < share;
}

/* Each rank brings the objects of its share: one rank's number and zeros add up to that number. In pieces, so that no
 * message is huge. */
void sample_gather(const sample *s, int source, int64_t n, const int64_t *row, float *x)
{
  enum { PIECE = 4096 };
  const sample_source *f = &s->source[source];
  for (int64_t i = 0; i < n; i++) {
    const int64_t mine = row[i] - s->first;
    if (mine >= 0 && mine < s->n) memcpy(x + i * f->width, f->x + mine * f->width, (size_t)f->width * sizeof *x);
  }
  for (int64_t i = 0; i < n; i += PIECE) {
    const int64_t piece = n - i < PIECE ? n - i : PIECE;
    syz_allreduce_f32(s->comm, x + i * f->width, (size_t)(piece * f->width), SYZ_SUM);
  }
}
