/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Detects silent changes of memory. From one update to the next, weights and moments must not change. The optimiser
 * reads and writes each of them once per step anyway, so it forms a sum over each stretch of at most 4096 elements when
 * it writes it, and another when it reads it in the next step. Both are formed while the stretch is in the cache, so
 * they need no memory traffic. The same is done with the summed gradients, between the norm and the update, and around
 * the objective's own arrays (a teacher).
 *
 * The sum is that of the bits as 64-bit integers, modulo 2^64: any change within one of these words changes it, so no
 * single flipped bit is missed, and it does not depend on how the array is divided. So the sums of all owners add up to
 * that of a whole block, which every node also forms from its own copy (digests_compare). Stretches begin at even
 * elements (parameters are padded to 16), so no word crosses a border.
 *
 * An error is stored as text and reported at the next agreement of the ranks.
 */
#include "digests.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A stretch of each array, and its sums. */
typedef struct entry {
  float *x[DIGEST_ARRAYS];
  uint64_t sum[DIGEST_KINDS];
} entry;

struct digests {
  const parts *parts;
  const syz_model *model;
  const syz_objective *objective;
  const scalars *scalars;
  int threads;
  entry *entry;             /* [stretches] */
  int64_t *first_of_bucket; /* [buckets + 1] */
  uint64_t frozen[PARTS], scalar, array[SYZ_ARRAYS_MAX];
  digest_damage found;
  char text[512];
};

static const char *const kind_name[DIGEST_KINDS] = {"the weights", "the first moments", "the second moments",
                                                    "the summed gradient"};

static uint64_t sum_all(const float *x, int64_t n, int threads)
{
  enum { PIECE = 1 << 20 };
  uint64_t sum = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : sum) if (threads > 1 && n > PIECE)
  for (int64_t at = 0; at < n; at += PIECE) sum += syz_sum_of_bits(x + at, n - at < PIECE ? n - at : PIECE);
  return sum;
}

/* ------------------------------------------------------------------ create */

static void find_entries(digests *d)
{
  const parts *p = d->parts;
  float *weights = syz_model_weights(d->model);
  int64_t k = 0;
  for (int i = 0; i < p->n_buckets; i++) {
    const bucket *b = &p->bucket[i];
    const part *q = &p->part[b->part];
    d->first_of_bucket[i] = k;
    for (;
         k < p->n_stretches && p->stretch[k].first >= b->own_first && p->stretch[k].first < b->own_first + b->own_count;
         k++) {
      const int64_t at = p->stretch[k].first, place = b->place + at - b->own_first;
      d->entry[k] = (entry){.x = {weights + at, q->moment1 + place, q->moment2 + place}};
    }
  }
  d->first_of_bucket[p->n_buckets] = k;
  SYZ_ASSERT(k == p->n_stretches);
}

/* This rank's share of arrays that the ranks of a node share. */
static void share_of_node(const syz_nodes *nodes, int64_t n, int64_t *first, int64_t *count)
{
  syz_share(n / PART_ROW, syz_comm_size(nodes->local), syz_comm_rank(nodes->local), first, count);
  *first *= PART_ROW;
  *count *= PART_ROW;
}

static uint64_t sum_frozen(const digests *d, const part *q)
{
  int64_t first, count;
  share_of_node(d->parts->nodes, q->count, &first, &count);
  return sum_all(syz_model_weights(d->model) + q->first + first, count, d->threads);
}

static bool is_frozen(const part *q) { return q->is_here && !q->is_trained; }

syz_status digests_create(const parts *p, const syz_model *model, const syz_objective *objective, const scalars *s,
                          int threads, digests **out)
{
  syz_status st = SYZ_OK;
  digests *d = NULL;
  *out = NULL;
  SYZ_ALLOC(d, "digests", 1);
  *d = (digests){.parts = p, .model = model, .objective = objective, .scalars = s, .threads = threads};
  SYZ_ALLOC(d->entry, "digests", p->n_stretches + 1);
  SYZ_ALLOC(d->first_of_bucket, "digests", p->n_buckets + 1);
  find_entries(d);
  for (int i = 0; i < PARTS; i++)
    if (is_frozen(&p->part[i])) d->frozen[i] = sum_frozen(d, &p->part[i]);
  digests_renew(d);
  *out = d;
  d = NULL;
cleanup:
  digests_destroy(&d);
  return st;
}

void digests_destroy(digests **out)
{
  if (!*out) return;
  syz_free(&(*out)->entry);
  syz_free(&(*out)->first_of_bucket);
  syz_free(out);
}

void digests_renew(digests *d)
{
  d->found = DIGEST_SOUND;
  d->text[0] = '\0';
  digests_note(d, 0, d->parts->n_stretches);
  digests_note_scalars(d);
  digests_note_arrays(d);
}

/* ------------------------------------------------------------------- found */

digest_damage digests_found(const digests *d) { return d->found; }
const char *digests_text(const digests *d) { return d->text; }

static void find(digests *d, digest_damage damage, const char *what, const char *how)
{
  char host[64] = "";
  if (damage <= d->found) return;
  gethostname(host, sizeof host - 1);
  d->found = damage;
  snprintf(d->text, sizeof d->text, "%.300s %s (rank %d on %s)", what, how, syz_log_get_rank(), host);
}

/* The parameter that an element of the block belongs to. */
static const char *name_of(const digests *d, int64_t element)
{
  int n = 0;
  const syz_parameter *table = syz_model_parameters(d->model, &n);
  for (int i = 0; i < n; i++)
    if (element >= table[i].offset && element < table[i].offset + table[i].size) return table[i].name;
  return "no parameter";
}

/* --------------------------------------------------------------- stretches */

int64_t digests_first(const digests *d, int i) { return d->first_of_bucket[i]; }
float *const *digests_arrays(const digests *d, int64_t i) { return d->entry[i].x; }

/* Records that array k of stretch i has changed. */
static void tell(digests *d, int64_t i, int k)
{
  char what[256];
  snprintf(what, sizeof what, "%s of %.160s or a parameter next to it", kind_name[k],
           name_of(d, d->parts->stretch[i].first));
  find(d, DIGEST_DAMAGED, what, "changed in memory although nothing wrote to it");
}

void digests_check(digests *d, int64_t first, int64_t n)
{
  int64_t worst = INT64_MAX;
#pragma omp parallel for schedule(static) num_threads(d->threads) reduction(min : worst) if (d->threads > 1 && n > 1)
  for (int64_t i = first; i < first + n; i++)
    for (int k = 0; k < DIGEST_ARRAYS; k++)
      if (syz_sum_of_bits(d->entry[i].x[k], d->parts->stretch[i].count) != d->entry[i].sum[k] &&
          i * DIGEST_ARRAYS + k < worst)
        worst = i * DIGEST_ARRAYS + k;
  if (worst < INT64_MAX) tell(d, worst / DIGEST_ARRAYS, (int)(worst % DIGEST_ARRAYS));
}

void digests_update(digests *d, int64_t first, int64_t n, const syz_adamw *rule, int64_t step, double scale,
                    const float *gradients)
{
  const stretch *t = d->parts->stretch;
  int64_t worst = INT64_MAX, elements = 0;
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) num_threads(d->threads) reduction(min : worst)                               \
    reduction(+ : elements) if (d->threads > 1 && n > 1)
  for (int64_t i = first; i < first + n; i++) {
    entry *e = &d->entry[i];
    uint64_t before[DIGEST_KINDS];
    const uint64_t noted[DIGEST_KINDS] = {e->sum[DIGEST_WEIGHT], e->sum[DIGEST_MOMENT1], e->sum[DIGEST_MOMENT2],
                                          e->sum[DIGEST_GRADIENT]};
    syz_adamw_update_summed(rule, step, scale, e->x[DIGEST_WEIGHT], e->x[DIGEST_MOMENT1], e->x[DIGEST_MOMENT2],
                            gradients + t[i].first, t[i].count, before, e->sum);
    for (int k = 0; k < DIGEST_KINDS; k++)
      if (before[k] != noted[k] && i * DIGEST_KINDS + k < worst) worst = i * DIGEST_KINDS + k;
    elements += t[i].count;
  }
  syz_profile_end(start, SYZ_PROFILE_OPTIMISER, "AdamW", 1, 0, 14.0 * (double)elements, 28.0 * (double)elements);
  if (worst < INT64_MAX) tell(d, worst / DIGEST_KINDS, (int)(worst % DIGEST_KINDS));
}

void digests_note(digests *d, int64_t first, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(d->threads) if (d->threads > 1 && n > 1)
  for (int64_t i = first; i < first + n; i++)
    for (int k = 0; k < DIGEST_ARRAYS; k++)
      d->entry[i].sum[k] = syz_sum_of_bits(d->entry[i].x[k], d->parts->stretch[i].count);
}

void digests_note_gradient(digests *d, int64_t i, const float *gradients)
{
  d->entry[i].sum[DIGEST_GRADIENT] =
      syz_sum_of_bits(gradients + d->parts->stretch[i].first, d->parts->stretch[i].count);
}

uint64_t digests_of_gradient(const digests *d, const float *gradients, uint64_t *whole)
{
  uint64_t own = 0;
  *whole = 0;
  for (int64_t i = 0; i < d->parts->n_stretches; i++) own += d->entry[i].sum[DIGEST_GRADIENT];
  for (int i = 0; i < PARTS; i++) {
    const part *q = &d->parts->part[i];
    if (q->is_here && q->is_trained) *whole += sum_all(gradients + q->first, q->count, d->threads);
  }
  return own;
}

/* ------------------------------------------------------ scalars and arrays */

static uint64_t sum_scalars(const scalars *s)
{
  const size_t n = (size_t)s->n * sizeof *s->value;
  return syz_checksum(s->moment2, n, syz_checksum(s->moment1, n, syz_checksum(s->value, n, 0)));
}

void digests_note_scalars(digests *d) { d->scalar = sum_scalars(d->scalars); }

void digests_check_scalars(digests *d)
{
  if (sum_scalars(d->scalars) != d->scalar)
    find(d, DIGEST_DAMAGED, "a scalar parameter", "changed in memory although nothing wrote to it");
}

static void share_of_array(const syz_array *a, int64_t *first, int64_t *count)
{
  *first = 0;
  *count = a->count;
  if (a->nodes) share_of_node(a->nodes, a->count, first, count);
}

static uint64_t sum_array(const digests *d, int i)
{
  int64_t first, count;
  share_of_array(&d->objective->array[i], &first, &count);
  return sum_all(d->objective->array[i].x + first, count, d->threads);
}

void digests_note_arrays(digests *d)
{
  for (int i = 0; i < d->objective->n_arrays; i++) d->array[i] = sum_array(d, i);
}

void digests_check_arrays(digests *d)
{
  for (int i = 0; i < d->objective->n_arrays; i++)
    if (sum_array(d, i) != d->array[i])
      find(d, DIGEST_DAMAGED, d->objective->array[i].name, "changed in memory although nothing wrote to it");
}

void digests_check_all(digests *d)
{
  digests_check(d, 0, d->parts->n_stretches);
  digests_check_scalars(d);
  digests_check_arrays(d);
}

/* ---------------------------------------------------------- ranks and nodes */

/* Whether all ranks of c have the same sum. Collective. */
static bool is_same(syz_comm *c, uint64_t sum)
{
  uint64_t both[2] = {sum, ~sum};
  syz_allreduce_u64(c, both, 2, SYZ_MAX);
  return both[0] == ~both[1];
}

/* Sum of the trained weights in the memory of this node, of which each rank forms a part. */
static uint64_t sum_node(const digests *d)
{
  const parts *p = d->parts;
  const float *weights = syz_model_weights(d->model);
  const int here = syz_comm_size(p->nodes->local), place = syz_comm_rank(p->nodes->local);
  uint64_t sum = 0;
  for (int i = 0; i < p->n_buckets; i++)
    for (int r = place; r < syz_comm_size(p->grid->data); r += here) {
      int64_t first, count;
      parts_slice(p, i, r, &first, &count);
      for (int s = 0; s < p->n_segments; s++) {
        const segment *g = &p->segment[s];
        const int64_t low = g->first > first ? g->first : first, end = g->first + g->count,
                      high = end < first + count ? end : first + count;
        if (high > low) sum += sum_all(weights + low, high - low, d->threads);
      }
    }
  syz_allreduce_u64(p->nodes->local, &sum, 1, SYZ_SUM);
  return sum;
}

void digests_compare(digests *d)
{
  const parts *p = d->parts;
  uint64_t written = 0;
  for (int64_t i = 0; i < p->n_stretches; i++) written += d->entry[i].sum[DIGEST_WEIGHT];
  syz_allreduce_u64(p->grid->data, &written, 1, SYZ_SUM);
  if (sum_node(d) != written)
    find(d, DIGEST_DAMAGED, "the weights in this node's memory", "are not those that the optimiser wrote");
  for (int i = 0; i < PARTS; i++) {
    const part *q = &p->part[i];
    if (!is_frozen(q)) continue;
    uint64_t sum = sum_frozen(d, q);
    if (sum != d->frozen[i]) find(d, DIGEST_FROZEN, q->name, "is frozen, and its weights changed in memory");
    syz_allreduce_u64(p->nodes->local, &sum, 1, SYZ_SUM);
    if (!is_same(p->grid->data, sum))
      find(d, DIGEST_FROZEN, q->name, "is frozen, and its weights differ between nodes");
  }
  if (!is_same(p->grid->world, sum_scalars(d->scalars)))
    find(d, DIGEST_DAMAGED, "a scalar parameter", "differs between ranks");
  for (int i = 0; i < d->objective->n_arrays; i++) {
    const syz_array *a = &d->objective->array[i];
    uint64_t sum = sum_array(d, i);
    if (a->nodes) syz_allreduce_u64(a->nodes->local, &sum, 1, SYZ_SUM);
    if (!is_same(p->grid->world, sum)) find(d, DIGEST_DAMAGED, a->name, "differs between ranks");
  }
}

/* ------------------------------------------------------------------ finite */

static bool is_finite(const float *x, int64_t n)
{
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= UINT32_C(0x7fffffff);
    largest = bits > largest ? bits : largest;
  }
  return largest < UINT32_C(0x7f800000);
}

syz_status digests_check_finite(const digests *d)
{
  syz_status st = SYZ_OK;
  const scalars *s = d->scalars;
  for (int64_t i = 0; i < d->parts->n_stretches; i++)
    for (int k = 0; k < DIGEST_ARRAYS; k++)
      SYZ_REQUIRE(is_finite(d->entry[i].x[k], d->parts->stretch[i].count), SYZ_ERR_NUMERIC,
                  "%s of %s, or of a parameter next to it, are not finite", kind_name[k],
                  name_of(d, d->parts->stretch[i].first));
  for (int i = 0; i < s->n; i++)
    SYZ_REQUIRE(isfinite(s->value[i]) && isfinite(s->moment1[i]) && isfinite(s->moment2[i]), SYZ_ERR_NUMERIC,
                "a scalar parameter is not finite");
  for (int i = 0; i < d->objective->n_arrays; i++) {
    int64_t first, count;
    share_of_array(&d->objective->array[i], &first, &count);
    SYZ_REQUIRE(is_finite(d->objective->array[i].x + first, count), SYZ_ERR_NUMERIC, "%s is not finite",
                d->objective->array[i].name);
  }
cleanup:
  return st;
}

/* ------------------------------------------------------------------- tests */

void digests_plant(const digests *d)
{
  static const char *const point[DIGEST_ARRAYS] = {"weight", "moment1", "moment2"};
  uint64_t draw;
  int64_t i;
  for (int k = 0; k < DIGEST_ARRAYS; k++) {
    if (!syz_flip(point[k], &draw) || d->parts->n_stretches == 0) continue;
    i = (int64_t)(draw % (uint64_t)d->parts->n_stretches);
    syz_flip_bit(point[k], d->entry[i].x[k], (size_t)d->parts->stretch[i].count * sizeof(float), draw);
  }
  if (syz_flip("block", &draw) && d->parts->n_buckets > 0) { /* anywhere, mostly in slices of other ranks */
    const bucket *b = &d->parts->bucket[draw % (uint64_t)d->parts->n_buckets];
    syz_flip_bit("block", syz_model_weights(d->model) + b->first, (size_t)b->count * sizeof(float), draw);
  }
  for (int k = 0; k < PARTS; k++)
    if (is_frozen(&d->parts->part[k]) && syz_flip("frozen", &draw))
      syz_flip_bit("frozen", syz_model_weights(d->model) + d->parts->part[k].first,
                   (size_t)d->parts->part[k].count * sizeof(float), draw);
  for (int k = 0; k < d->objective->n_arrays;
       k++) { /* in its own share, because another rank may not have formed its sum yet */
    int64_t first, count;
    share_of_array(&d->objective->array[k], &first, &count);
    if (syz_flip(d->objective->array[k].name, &draw))
      syz_flip_bit(d->objective->array[k].name, d->objective->array[k].x + first, (size_t)count * sizeof(float), draw);
  }
}

void digests_plant_written(const digests *d)
{
  uint64_t draw;
  if (syz_flip("written", &draw) && d->parts->n_stretches > 0)
    syz_flip_bit("written", d->entry[0].x[DIGEST_WEIGHT], (size_t)d->parts->stretch[0].count * sizeof(float), draw);
}

void digests_plant_gradient(const digests *d, const char *point, float *gradients)
{
  uint64_t draw;
  if (!syz_flip(point, &draw) || d->parts->n_stretches == 0) return;
  const stretch *t = &d->parts->stretch[draw % (uint64_t)d->parts->n_stretches];
  syz_flip_bit(point, gradients + t->first, (size_t)t->count * sizeof(float), draw);
}
