/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Draws of objects. FLOW_TILE objects at once share the products of their contexts with the first layers; then the
 * draws of one object and member are the vector axis. Normal number j D + d of the stream (seed, object id) is label d
 * of draw j, whose member is (j + a number drawn for the object) mod M: an object's draws do not depend on which others
 * are asked for, and more of them begin with the same ones.
 */
#include <math.h>
#include <string.h>

#include "internal.h"

typedef struct job {
  const syz_flow *f;
  uint64_t seed;
  int64_t n, draws;
  const float *context;
  const int64_t *id;
  double *y, *log_q;
} job;

/* Scratch of one thread. */
typedef struct room {
  void *work;
  float *normal; /* [FLOW_TILE, J, D] */
  void *moves;
} room;

/* Draws of one member and one object, which the work shares, standardised, to s [J, D]. */
static void draw_member(const job *j, const room *r, int member, int64_t id, const float *normal, double *s)
{
  const syz_flow *f = j->f;
  const int labels = f->labels, members = f->members;
  const syz_random stream = syz_random_make(j->seed, SYZ_RANDOM_FLOW_DRAW, 1, (uint64_t)id);
  const int begin = (int)syz_random_below(&stream, 0, (uint64_t)members); /* the member of draw 0 */
  for (int64_t first = (member - begin + members) % members; first < j->draws; first += (int64_t)members * FLOW_BLOCK) {
    double z[FLOW_BLOCK * SYZ_FLOW_LABELS], x[FLOW_BLOCK * SYZ_FLOW_LABELS];
    int count = 0;
    for (int64_t k = first; k < j->draws && count < FLOW_BLOCK; k += members, count++)
      for (int d = 0; d < labels; d++)
        z[count * labels + d] = f->calibration.temperature * (double)normal[k * labels + d];
    f->engine->inverse(r->work, &f->layout[member], f->parameters[member], count, z, x);
    for (int i = 0; i < count; i++)
      memcpy(s + (first + (int64_t)i * members) * labels, x + i * labels, (size_t)labels * sizeof *s);
  }
}

/* Standardised draws of one object -> label units, with log q before. */
static void finish(const job *j, const room *r, int64_t object)
{
  const syz_flow *f = j->f;
  double *s = j->y + object * j->draws * f->labels, *log_q = j->log_q ? j->log_q + object * j->draws : NULL;
  if (f->calibration.kind == SYZ_FLOW_PIT)
    for (int d = 0; d < f->labels; d++) flow_pit_move(f->calibration.map[d], j->draws, s + d, f->labels, r->moves);
  if (log_q) flow_log_density_shared(f, r->work, j->context + object * f->context, j->draws, s, log_q, NULL);
  syz_flow_labels_undo(f->label, f->labels, j->draws, s, s);
  for (int64_t k = 0; log_q && k < j->draws; k++)
    for (int d = 0; d < f->labels; d++) log_q[k] += flow_log_slope(&f->label[d], s[k * f->labels + d]);
}

static void draw_block(const job *j, const room *r, int64_t first, int n)
{
  const syz_flow *f = j->f;
  const int64_t each = j->draws * f->labels;
  for (int i = 0; i < n; i++) {
    const syz_random stream = syz_random_make(j->seed, SYZ_RANDOM_FLOW_DRAW, 0, (uint64_t)j->id[first + i]);
    syz_random_fill_normal(&stream, r->normal + i * each, (size_t)each);
  }
  for (int m = 0; m < f->members; m++) {
    f->engine->load_context(r->work, &f->layout[m], n, j->context + first * f->context, NULL, f->mean, f->factor);
    f->engine->prepare(r->work, &f->layout[m], f->parameters[m], n);
    for (int i = 0; i < n; i++) {
      f->engine->share(r->work, &f->layout[m], i);
      draw_member(j, r, m, j->id[first + i], r->normal + i * each, j->y + (first + i) * each);
    }
  }
  for (int i = 0; i < n; i++) finish(j, r, first + i);
}

static syz_status rooms_create(const job *j, const flow_pool *pool, room *r)
{
  syz_status st = SYZ_OK;
  for (int t = 0; t < pool->n; t++) {
    r[t].work = pool->work[t];
    SYZ_ALLOC(r[t].normal, "draws", FLOW_TILE * j->draws * j->f->labels);
    r[t].moves = syz_alloc("draws", flow_pit_room(j->draws), 1);
    SYZ_REQUIRE(r[t].moves, SYZ_ERR_MEMORY, "no memory for %lld draws", (long long)j->draws);
  }
cleanup:
  return st;
}

syz_status syz_flow_draw(const syz_flow *f, uint64_t seed, int64_t n, const float *context, const int64_t *id,
                         int64_t draws, double *y, double *log_q)
{
  syz_status st = SYZ_OK;
  const job j = {f, seed, n, draws, context, id, y, log_q};
  const int64_t blocks = (n + FLOW_TILE - 1) / FLOW_TILE;
  const int threads = (int)(blocks < f->threads ? (blocks ? blocks : 1) : f->threads);
  flow_pool pool = {0};
  room *r = NULL;
  SYZ_REQUIRE(draws >= 1 && draws < (1 << 28), SYZ_ERR_INPUT, "%lld draws of an object; at least one is needed",
              (long long)draws);
  SYZ_TRY(flow_pool_create(f, false, threads, &pool));
  SYZ_ALLOC(r, "draws", threads);
  SYZ_TRY(rooms_create(&j, &pool, r));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t first = b * FLOW_TILE;
    draw_block(&j, &r[flow_thread()], first, (int)(n - first < FLOW_TILE ? n - first : FLOW_TILE));
  }
cleanup:
  for (int t = 0; r && t < threads; t++) {
    syz_free(&r[t].normal);
    syz_free(&r[t].moves);
  }
  syz_free(&r);
  flow_pool_destroy(&pool);
  return st;
}
