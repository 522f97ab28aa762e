/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exact nearest neighbours by cosine, within and across modalities, and how often an object's own other modality is
 * found.
 *
 * It writes one neighbours file per direction and retrieval.json. The index is divided among the ranks once per
 * modality; every rank reads a part of each block of queries. Rows of the output are in the order of the query files.
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/analysis.h"
#include "syzygy/catalogue.h"
#include "syzygy/figures.h"
#include "syzygy/json.h"

enum { TEST_EVERY = 5, LABELLED_LEAST = 10 };

typedef struct direction {
  bool is_wanted;
  syz_pair_figures retrieval;
  bool has_retrieval;
  int64_t candidates;
  char file[64];
} direction;

typedef struct regression {
  bool is_done;
  int64_t train, test, k;
  double r2;
} regression;

typedef struct syz_neighbours job;

struct syz_neighbours {
  const syz_run *run;
  const syz_neighbours_options *options;
  syz_comm *comm;
  syz_compute *compute;
  syz_embedding_set *index, *query; /* query may be index */
  const char *folder;
  int64_t k;
  bool excludes_self;
  direction d[SYZ_MODALITIES][SYZ_MODALITIES]; /* [query][index] */
  regression r[SYZ_MODALITIES];
  const char *label;
};

static bool is_asked(const char *choice, syz_modality m)
{
  return strcmp(choice, "all") == 0 || strcmp(choice, syz_modality_name(m)) == 0;
}

/* Choose the directions that the files allow; a direction asked for by name must be possible. */
static syz_status plan_directions(job *s)
{
  syz_status st = SYZ_OK;
  const char *index_choice = s->options->index_modality, *query_choice = s->options->query_modality;
  int n = 0;
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    SYZ_REQUIRE(s->index->width[m] || strcmp(index_choice, syz_modality_name(m)) != 0, SYZ_ERR_DATA,
                "search.index_modality: %s, but %s%s has no %s_embedding", index_choice, s->index->path[0],
                s->index->n_files > 1 ? " and the others" : "", syz_modality_name(m));
    SYZ_REQUIRE(s->query->width[m] || strcmp(query_choice, syz_modality_name(m)) != 0, SYZ_ERR_DATA,
                "search.query_modality: %s, but %s%s has no %s_embedding", query_choice, s->query->path[0],
                s->query->n_files > 1 ? " and the others" : "", syz_modality_name(m));
  }
  for (syz_modality q = SYZ_IMAGE; q < SYZ_MODALITIES; q++)
    for (syz_modality i = SYZ_IMAGE; i < SYZ_MODALITIES; i++) {
      direction *d = &s->d[q][i];
      if (!is_asked(query_choice, q) || !is_asked(index_choice, i)) continue;
      if (!s->query->width[q] || !s->index->width[i]) {
        syz_warn("no search from %s to %s: the files hold no such embeddings", syz_modality_name(q),
                 syz_modality_name(i));
        continue;
      }
      SYZ_REQUIRE(s->query->width[q] == s->index->width[i], SYZ_ERR_DATA,
                  "%s embeddings of %s are %lld wide, %s embeddings of %s %lld: they cannot be compared",
                  syz_modality_name(q), s->query->path[0], (long long)s->query->width[q], syz_modality_name(i),
                  s->index->path[0], (long long)s->index->width[i]);
      d->is_wanted = true;
      n++;
      snprintf(d->file, sizeof d->file, "neighbours-%s-%s.h5", syz_modality_name(q), syz_modality_name(i));
    }
  SYZ_REQUIRE(n > 0, SYZ_ERR_DATA, "%s and %s have no embeddings that can be compared", s->index->path[0],
              s->query->path[0]);
  /* A single direction asked for by name gets the plain file name. */
  if (strcmp(query_choice, "all") != 0 && strcmp(index_choice, "all") != 0)
    for (int e = 0; e < 4; e++) snprintf(s->d[e / 2][e % 2].file, sizeof s->d[0][0].file, "neighbours.h5");
cleanup:
  return st;
}

static syz_status create_output(job *s, syz_modality q, syz_modality i, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  char path[4096];
  const direction *d = &s->d[q][i];
  int64_t k = s->k, rows = s->query->rows;
  snprintf(path, sizeof path, "%s/%s", s->folder, d->file);
  SYZ_TRY(syz_h5_create(s->comm, path, "neighbours", s->run->created_by, s->run->input_yaml, out));
  SYZ_TRY(syz_h5_write_text(*out, "query_modality", syz_modality_name(q)));
  SYZ_TRY(syz_h5_write_text(*out, "index_modality", syz_modality_name(i)));
  SYZ_TRY(syz_h5_dataset(*out, "query_id", SYZ_H5_I64, rows, 0, NULL, "",
                         "object_id of each query, in the order of the query files"));
  SYZ_TRY(syz_h5_dataset(*out, "neighbour_id", SYZ_H5_I64, rows, 1, &k, "",
                         "object_id of the neighbours, best first; -1: there is none"));
  SYZ_TRY(syz_h5_dataset(*out, "neighbour_row", SYZ_H5_I64, rows, 1, &k, "",
                         "row of the neighbours in the index files, counted through them in order; -1: there is none"));
  SYZ_TRY(syz_h5_dataset(*out, "similarity", SYZ_H5_F32, rows, 1, &k, "",
                         "cosine of query and neighbour, best first; NaN: there is none"));
cleanup:
  return st;
}

/* Buffers for one block of queries, allocated once per direction. */
typedef struct block {
  int64_t room, width;
  float *query, *mine;       /* [room, E] */
  int64_t *id, *my_id;       /* [room] */
  syz_neighbour *best;       /* [room, k] of this rank's queries */
  syz_pair *pair, *all_pair; /* [room]; all_pair [queries] on rank 0 */
  int64_t *ids, *rows;       /* [room, k] */
  float *similarity;         /* [room, k] */
  size_t *bytes;             /* [size] */
} block;

static void block_free(block *b)
{
  syz_free(&b->query);
  syz_free(&b->mine);
  syz_free(&b->id);
  syz_free(&b->my_id);
  syz_free(&b->best);
  syz_free(&b->pair);
  syz_free(&b->all_pair);
  syz_free(&b->ids);
  syz_free(&b->rows);
  syz_free(&b->similarity);
  syz_free(&b->bytes);
}

static syz_status block_allocate(const job *s, int64_t width, bool wants_pairs, block *b)
{
  syz_status st = SYZ_OK;
  int64_t room = syz_index_block(s->k), size = syz_comm_size(s->comm);
  if (room > s->query->rows) room = s->query->rows;
  int64_t share = (room + size - 1) / size;
  *b = (block){.room = room, .width = width};
  SYZ_ALLOC(b->query, "queries", room * width);
  SYZ_ALLOC(b->mine, "queries", share * width);
  SYZ_ALLOC(b->id, "query ids", room);
  SYZ_ALLOC(b->my_id, "query ids", share);
  SYZ_ALLOC(b->best, "neighbours", share * s->k);
  SYZ_ALLOC(b->ids, "neighbour ids", share * s->k);
  SYZ_ALLOC(b->rows, "neighbour rows", share * s->k);
  SYZ_ALLOC(b->similarity, "similarities", share * s->k);
  SYZ_ALLOC(b->bytes, "shares", size);
  if (wants_pairs) {
    SYZ_ALLOC(b->pair, "pairs", share);
    if (syz_comm_rank(s->comm) == 0) SYZ_ALLOC(b->all_pair, "pairs", s->query->rows);
  }
cleanup:
  return st;
}

/* bytes[r] = size of rank r's share of n items of this size. */
static void share_bytes(const job *s, int64_t n, size_t item, size_t *bytes)
{
  for (int r = 0; r < syz_comm_size(s->comm); r++) {
    int64_t first, count;
    syz_share(n, syz_comm_size(s->comm), r, &first, &count);
    bytes[r] = (size_t)count * item;
  }
}

static syz_status read_my_part(job *s, syz_modality m, int64_t first, int64_t n, block *b)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_embedding_set_read(s->query, m, first, n, b->mine));
  SYZ_TRY(syz_embedding_set_ids(s->query, first, n, b->my_id));
cleanup:
  return st;
}

/* Queries [q0, q0 + n): each rank reads a share, all ranks get all of them and search, and the ranks that hold the
 * results write them. */
static syz_status search_block(job *s, syz_modality m, syz_index *index, int64_t q0, int64_t n, bool excludes_same_id,
                               block *b, syz_h5 *out)
{
  syz_status st = SYZ_OK;
  int64_t first, count, k = s->k;
  syz_share(n, syz_comm_size(s->comm), syz_comm_rank(s->comm), &first, &count);
  syz_timing_begin(s->run->timing, "read");
  st = syz_agree(s->comm, read_my_part(s, m, q0 + first, count, b));
  syz_timing_end(s->run->timing);
  SYZ_TRY(st);
  share_bytes(s, n, (size_t)b->width * sizeof *b->query, b->bytes);
  syz_allgatherv(s->comm, b->mine, b->query, b->bytes);
  share_bytes(s, n, sizeof *b->id, b->bytes);
  syz_allgatherv(s->comm, b->my_id, b->id, b->bytes);

  syz_timing_begin(s->run->timing, "search");
  st = syz_index_search(index, n, b->query, b->id, &(syz_search_options){.k = k, .excludes_same_id = excludes_same_id},
                        b->best, b->pair);
  syz_timing_end(s->run->timing);
  SYZ_TRY(st);
  for (int64_t i = 0; i < count * k; i++) {
    b->ids[i] = b->best[i].id;
    b->rows[i] = b->best[i].row;
    b->similarity[i] = b->best[i].score;
  }
  if (b->pair) {
    share_bytes(s, n, sizeof *b->pair, b->bytes);
    syz_gatherv(s->comm, b->pair, b->all_pair ? b->all_pair + q0 : NULL, b->bytes, 0);
  }
  syz_timing_begin(s->run->timing, "write");
  st = syz_h5_write_rows(out, "query_id", q0 + first, count, b->my_id);
  if (st == SYZ_OK) st = syz_h5_write_rows(out, "neighbour_id", q0 + first, count, b->ids);
  if (st == SYZ_OK) st = syz_h5_write_rows(out, "neighbour_row", q0 + first, count, b->rows);
  if (st == SYZ_OK) st = syz_h5_write_rows(out, "similarity", q0 + first, count, b->similarity);
  syz_timing_end(s->run->timing);
  SYZ_TRY(st);
cleanup:
  return st;
}

/* Whether any rank was asked to stop; the same answer everywhere. */
static bool must_stop(job *s)
{
  int64_t asked = syz_stop_asked(s->comm, s->folder);
  syz_allreduce_i64(s->comm, &asked, 1, SYZ_MAX);
  return asked != 0;
}

static syz_status search_direction(job *s, syz_modality q, syz_modality i, syz_index *index)
{
  syz_status st = SYZ_OK;
  direction *d = &s->d[q][i];
  block b = {0};
  syz_h5 *out = NULL;
  syz_progress progress;
  char what[64];
  bool wants_pairs = q != i;
  SYZ_TRY_ALL(s->comm, block_allocate(s, s->query->width[q], wants_pairs, &b));
  SYZ_TRY(create_output(s, q, i, &out));
  snprintf(what, sizeof what, "%s to %s", syz_modality_name(q), syz_modality_name(i));
  syz_progress_begin(&progress, what, "queries", 0, s->query->rows);
  for (int64_t q0 = 0; q0 < s->query->rows; q0 += b.room) {
    int64_t n = s->query->rows - q0 < b.room ? s->query->rows - q0 : b.room;
    if (must_stop(s)) {
      syz_info(
          "stopped (%s): the directions that are complete are kept; the same command searches again from the start",
          syz_stop_reason());
      st = SYZ_STOPPED;
      goto cleanup;
    }
    SYZ_TRY(search_block(s, q, index, q0, n, s->excludes_self && q == i, &b, out));
    syz_progress_tell(&progress, q0 + n, NULL);
  }
  syz_progress_end(&progress, s->query->rows);
  SYZ_TRY(syz_h5_publish(&out));
  if (wants_pairs) {
    SYZ_TRY_ALL(s->comm, syz_comm_rank(s->comm) == 0
                             ? syz_pair_score(b.all_pair, s->query->rows, d->candidates, &d->retrieval)
                             : SYZ_OK);
    syz_bcast(s->comm, &d->retrieval, sizeof d->retrieval, 0);
    d->has_retrieval = d->retrieval.pairs > 0;
  }
cleanup:
  syz_h5_close(&out);
  block_free(&b);
  return st;
}

/* ------------------------------------------------------------ regression */

/* Assign roles: rows with a label and a usable embedding train, every fifth of them tests. x is this rank's share. */
static syz_status assign_roles(const job *s, int64_t width, int64_t first, int64_t n, const float *x,
                               const float *value, uint8_t *role, uint8_t *mine)
{
  for (int64_t i = 0; i < n; i++) {
    bool is_usable = isfinite(value[first + i]);
    for (int64_t e = 0; is_usable && e < width; e++) is_usable = isfinite(x[i * width + e]);
    mine[i] = (uint8_t)(!is_usable                                   ? SYZ_ROLE_NONE
                        : (first + i) % TEST_EVERY == TEST_EVERY - 1 ? SYZ_ROLE_TEST
                                                                     : SYZ_ROLE_TRAIN);
  }
  return syz_index_gather(s->comm, s->index->rows, mine, role);
}

typedef struct labelled {
  float *x, *value, *prediction;
  uint8_t *role, *mine;
} labelled;

static syz_status labelled_load(job *s, syz_modality m, int64_t first, int64_t n, labelled *l)
{
  syz_status st = SYZ_OK;
  int64_t rows = s->index->rows;
  SYZ_ALLOC(l->x, "embeddings", n * s->index->width[m]);
  SYZ_ALLOC(l->value, "label", rows);
  SYZ_ALLOC(l->prediction, "prediction", rows);
  SYZ_ALLOC(l->role, "roles", rows);
  SYZ_ALLOC(l->mine, "roles", n);
  SYZ_TRY(syz_embedding_set_read(s->index, m, first, n, l->x));
  SYZ_TRY(syz_embedding_set_label(s->index, s->label, 0, rows, l->value));
cleanup:
  return st;
}

static syz_status regress(job *s, syz_modality m)
{
  syz_status st = SYZ_OK;
  regression *r = &s->r[m];
  labelled l = {0};
  int64_t first, n, rows = s->index->rows;
  syz_timing_begin(s->run->timing, "regression");
  syz_index_share(rows, syz_comm_size(s->comm), syz_comm_rank(s->comm), &first, &n);
  SYZ_TRY_ALL(s->comm, labelled_load(s, m, first, n, &l));
  SYZ_TRY(assign_roles(s, s->index->width[m], first, n, l.x, l.value, l.role, l.mine));
  for (int64_t i = 0; i < rows; i++) {
    r->train += l.role[i] == SYZ_ROLE_TRAIN;
    r->test += l.role[i] == SYZ_ROLE_TEST;
  }
  if (r->train + r->test < LABELLED_LEAST || r->test < 2 || r->train < 1) {
    syz_info("%s from %s: only %lld objects have both, so there is no regression", s->label, syz_modality_name(m),
             (long long)(r->train + r->test));
    goto cleanup;
  }
  r->k = s->options->label_k;
  if (r->k > r->train) r->k = r->train;
  SYZ_TRY(syz_knn_regress(s->comm, s->compute, rows, s->index->width[m], l.x, l.value, l.role, r->k, l.prediction));
  int64_t t = 0;
  for (int64_t i = 0; i < rows; i++)
    if (l.role[i] == SYZ_ROLE_TEST) {
      l.value[t] = l.value[i];
      l.prediction[t++] = l.prediction[i];
    }
  r->r2 = syz_r_squared(l.value, l.prediction, t);
  r->is_done = true;
cleanup:
  syz_timing_end(s->run->timing);
  syz_free(&l.x);
  syz_free(&l.value);
  syz_free(&l.prediction);
  syz_free(&l.role);
  syz_free(&l.mine);
  return st;
}

/* --------------------------------------------------------------- figures */

static void print_figures(const job *s)
{
  bool has_any = false;
  for (int e = 0; e < 4; e++) has_any = has_any || s->d[e / 2][e % 2].has_retrieval;
  if (has_any)
    syz_info("own partner found    %9s %9s %9s %9s %9s   among  median rank (chance)", "pairs", "recall@1", "@5", "@10",
             "@50");
  for (int e = 0; e < 4; e++) {
    const direction *d = &s->d[e / 2][e % 2];
    const syz_pair_figures *r = &d->retrieval;
    char name[32];
    snprintf(name, sizeof name, "%s to %s", syz_modality_name((syz_modality)(e / 2)),
             syz_modality_name((syz_modality)(e % 2)));
    if (!d->is_wanted || e / 2 == e % 2) continue;
    if (!d->has_retrieval) {
      syz_info("%-20s no query object is in the index: no retrieval figures", name);
      continue;
    }
    syz_info("%-20s %9lld %9.4f %9.4f %9.4f %9.4f %7lld  %.1f (%.1f)", name, (long long)r->pairs, r->recall[0],
             r->recall[1], r->recall[2], r->recall[3], (long long)r->candidates, r->median_rank, r->chance_median_rank);
    syz_info("%-20s %9s %9.4f %9.4f %9.4f %9.4f", "  by chance", "", r->chance[0], r->chance[1], r->chance[2],
             r->chance[3]);
  }
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (s->r[m].is_done)
      syz_info("%s from the %s embedding by %lld nearest neighbours: R2 %.4f (%lld training, %lld test objects)",
               s->label, syz_modality_name(m), (long long)s->r[m].k, s->r[m].r2, (long long)s->r[m].train,
               (long long)s->r[m].test);
}

static cJSON *names(const syz_embedding_set *s)
{
  cJSON *list = cJSON_CreateArray();
  for (int i = 0; i < s->n_files; i++) cJSON_AddItemToArray(list, cJSON_CreateString(s->path[i]));
  return list;
}

static void add_recalls(cJSON *o, const char *name, const double *value)
{
  cJSON *r = cJSON_AddObjectToObject(o, name);
  for (int i = 0; i < SYZ_RECALLS; i++) {
    char k[16];
    snprintf(k, sizeof k, "%d", syz_recall_at[i]);
    syz_json_add_number(r, k, value[i]);
  }
}

/* retrieval.json, on rank 0. cJSON returns NULL without memory, and its adders pass that on: one check at the end. */
static syz_status write_figures(const job *s)
{
  syz_status st = SYZ_OK;
  cJSON *root = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(root, "directions"), *labels;
  cJSON_AddStringToObject(root, "created_by", s->run->created_by);
  cJSON_AddItemToObject(root, "index", names(s->index));
  cJSON_AddItemToObject(root, "query", names(s->query));
  cJSON_AddNumberToObject(root, "k", (double)s->k);
  for (int e = 0; e < 4; e++) {
    const direction *d = &s->d[e / 2][e % 2];
    if (!d->is_wanted) continue;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "query", syz_modality_name((syz_modality)(e / 2)));
    cJSON_AddStringToObject(o, "index", syz_modality_name((syz_modality)(e % 2)));
    cJSON_AddStringToObject(o, "neighbours", d->file);
    cJSON_AddNumberToObject(o, "queries", (double)s->query->rows);
    cJSON_AddNumberToObject(o, "candidates", (double)d->candidates);
    if (e / 2 != e % 2) {
      cJSON_AddNumberToObject(o, "pairs", (double)d->retrieval.pairs);
      add_recalls(o, "recall", d->retrieval.recall);
      add_recalls(o, "chance", d->retrieval.chance);
      syz_json_add_number(o, "median_rank", d->retrieval.median_rank);
      syz_json_add_number(o, "chance_median_rank", d->retrieval.chance_median_rank);
      syz_json_add_number(o, "mean_reciprocal_rank", d->retrieval.mean_reciprocal_rank);
    }
    cJSON_AddItemToArray(list, o);
  }
  labels = cJSON_AddArrayToObject(root, "regression");
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    if (!s->r[m].is_done) continue;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "label", s->label);
    cJSON_AddStringToObject(o, "embedding", syz_modality_name(m));
    cJSON_AddStringToObject(
        o, "method",
        "nearest neighbours, weights 1/distance, standardised embeddings; test: index rows with row mod 5 = 4");
    cJSON_AddNumberToObject(o, "k", (double)s->r[m].k);
    cJSON_AddNumberToObject(o, "train", (double)s->r[m].train);
    cJSON_AddNumberToObject(o, "test", (double)s->r[m].test);
    syz_json_add_number(o, "r2", s->r[m].r2);
    cJSON_AddItemToArray(labels, o);
  }
  st = syz_json_write(s->folder, "retrieval.json", root);
  cJSON_Delete(root);
  return st;
}

/* ------------------------------------------------------------- all of it */

/* `key` names the list in the input; an empty list means the run folder's own embedding.h5. */
static syz_status open_list(job *s, const char *key, syz_texts given, syz_embedding_set **out)
{
  syz_status st = SYZ_OK;
  if (!given.n) given = (syz_texts){1, &s->folder};
  SYZ_TRY(syz_embedding_set_open(s->comm, key, given.n, given.item, out));
  SYZ_REQUIRE((*out)->rows > 0, SYZ_ERR_DATA, "%s: %s%s has no rows", key, (*out)->path[0],
              (*out)->n_files > 1 ? " and the others" : "");
cleanup:
  return st;
}

static syz_status load_index(job *s, syz_modality m, syz_index *index)
{
  syz_status st = SYZ_OK;
  int64_t first, n;
  syz_index_share(s->index->rows, syz_comm_size(s->comm), syz_comm_rank(s->comm), &first, &n);
  SYZ_TRY(syz_embedding_set_read(s->index, m, first, n, syz_index_rows(index)));
  SYZ_TRY(syz_embedding_set_ids(s->index, first, n, syz_index_ids(index)));
cleanup:
  return st;
}

static syz_status search_modality(job *s, syz_modality i)
{
  syz_status st = SYZ_OK;
  syz_index *index = NULL;
  int64_t valid = 0;
  if (!s->d[SYZ_IMAGE][i].is_wanted && !s->d[SYZ_SPECTRUM][i].is_wanted) return SYZ_OK;
  SYZ_TRY(syz_index_create(s->comm, s->compute, SYZ_METRIC_COSINE, s->index->rows, s->index->width[i], &index));
  syz_timing_begin(s->run->timing, "read");
  st = syz_agree(s->comm, load_index(s, i, index));
  syz_timing_end(s->run->timing);
  SYZ_TRY(st);
  SYZ_TRY(syz_index_seal(index, &valid));
  if (valid < s->index->rows)
    syz_info("%lld of %lld objects of the index have a usable %s embedding", (long long)valid,
             (long long)s->index->rows, syz_modality_name(i));
  for (syz_modality q = SYZ_IMAGE; q < SYZ_MODALITIES; q++) {
    s->d[q][i].candidates = valid;
    if (s->d[q][i].is_wanted) SYZ_TRY(search_direction(s, q, i, index));
  }
cleanup:
  syz_index_destroy(&index);
  return st;
}

/* Memory of the busiest rank: its share of the index, the search of one block of queries, these queries with their
 * neighbours before and after the merge, and the rows of all pairs. */
static double rank_bytes(const job *s)
{
  int64_t first, rows,
      width = s->index->width[SYZ_IMAGE] > s->index->width[SYZ_SPECTRUM] ? s->index->width[SYZ_IMAGE]
                                                                         : s->index->width[SYZ_SPECTRUM];
  int64_t queries = syz_index_block(s->k) < s->query->rows ? syz_index_block(s->k) : s->query->rows;
  syz_index_share(s->index->rows, syz_comm_size(s->comm), 0, &first, &rows);
  return (double)syz_index_bytes(s->compute, rows, width, queries, s->k) +
         (double)queries * (8.0 * (double)width + 2.0 * (double)s->k * (double)sizeof(syz_neighbour)) +
         (double)s->query->rows * (double)sizeof(syz_pair);
}

static syz_status open_all(job *s)
{
  syz_status st = SYZ_OK;
  const syz_neighbours_options *o = s->options;
  SYZ_REQUIRE(strlen(s->label) < SYZ_LABEL_NAME, SYZ_ERR_INPUT, "search.label: \"%s\" is longer than %d characters",
              s->label, SYZ_LABEL_NAME - 1);
  SYZ_TRY(open_list(s, "search.index", o->index, &s->index));
  SYZ_TRY_ALL(s->comm, syz_embedding_set_check_label(s->index, "search.index", s->label));
  if (o->query.n)
    SYZ_TRY(open_list(s, "search.query", o->query, &s->query));
  else
    s->query = s->index;
  SYZ_TRY_ALL(s->comm, plan_directions(s));
  syz_info("index %lld objects in %d file(s), queries %lld, k %lld%s", (long long)s->index->rows, s->index->n_files,
           (long long)s->query->rows, (long long)s->k,
           s->k > s->index->rows ? " (more than there are: the rest is marked -1)" : "");
  SYZ_TRY_ALL(s->comm, syz_compute_create(o->compute.act, o->compute.engine, o->compute.threads, &s->compute));
  syz_info("%d rank(s), about %.0f MB per rank; first products by %s", syz_comm_size(s->comm), rank_bytes(s) / 1e6,
           syz_compute_describe(s->compute));
cleanup:
  return st;
}

syz_status syz_neighbours_open(const syz_run *run, const syz_neighbours_options *options, syz_neighbours **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  job *s = syz_alloc("search", 1, sizeof *s);
  SYZ_TRY_ALL(run->world, s ? SYZ_OK : SYZ_ERR_MEMORY);
  *s = (job){.run = run,
             .options = options,
             .comm = run->world,
             .folder = run->folder,
             .k = options->k,
             .excludes_self = options->excludes_self,
             .label = options->label};
  SYZ_TRY(open_all(s));
  *out = s;
  s = NULL;
cleanup:
  syz_neighbours_close(&s);
  return st;
}

void syz_neighbours_close(syz_neighbours **s)
{
  job *j = *s;
  if (!j) return;
  if (j->query && j->query != j->index) syz_embedding_set_close(&j->query);
  syz_embedding_set_close(&j->index);
  syz_compute_destroy(&j->compute);
  syz_free(s);
}

syz_status syz_neighbours_write(syz_neighbours *s)
{
  syz_status st = SYZ_OK;
  for (syz_modality i = SYZ_IMAGE; i < SYZ_MODALITIES; i++) SYZ_TRY(search_modality(s, i));
  if (!syz_embedding_set_has_label(s->index, s->label)) syz_info("no label/%s in the index: no regression", s->label);
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (s->index->width[m] && is_asked(s->options->index_modality, m) && s->options->label_k > 0 &&
        syz_embedding_set_has_label(s->index, s->label))
      SYZ_TRY(regress(s, m));
  print_figures(s);
  SYZ_TRY_ALL(s->comm, syz_comm_rank(s->comm) == 0 ? write_figures(s) : SYZ_OK);
cleanup:
  return st;
}
