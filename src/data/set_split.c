/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Train and test. The first int(0.8 n) rows of each part train, the rest test; but all copies of one object are on the
 * same side, because otherwise a model would be tested on an object that it was trained on.
 *
 * Two rows are copies when their identifiers are equal, or their positions within SAME_PLACE_ARCSEC; and copies of
 * copies are copies. Each group of copies is on the side of its first row, in the order of files and rows. Rows of a
 * layout whose split was published keep theirs; where a group has such rows, the first of them decides the group's
 * side. Identifiers that are negative or 0 count as none, and positions that are not on the sphere, or all zero, as
 * unknown. Rows without a copy follow the first rule.
 *
 * The split depends neither on whether objects are usable nor on the requested side, so the two sides always make up
 * the whole data set.
 *
 * Method: every rank sends the rows of its files to the owners of their identifiers and then of the cells of the sky
 * that they may have copies in (syz_cells_around). An owner sorts by identifier; of positions, equal ones are found by
 * sorting, so that a place given to many rows is one point of the tree in which the others are searched. What the
 * owners find are pairs of rows, which rank 0 joins to groups. O(n log n) over all ranks, and about 100 bytes for each
 * row that a rank receives, freed before pixels are looked at. Rank 0 alone also holds 16 bytes for each pair and,
 * where there are any, 8 bytes for each row of the data set.
 */
#include "set_split.h"

#include <math.h>
#include <stdlib.h>

#include "set_layout.h"

static const double SAME_PLACE_ARCSEC = 1, FAR_ARCSEC = 60;

typedef struct row_key {
  int64_t raw, id;
  double ra, dec;
} row_key;

typedef struct row_pair {
  int64_t first, second;
} row_pair;

typedef struct pair_list {
  row_pair *pair;
  int64_t n, far; /* far: pairs of one identifier at two places */
  size_t room;
} pair_list;

/* -------------------------------------------------------- rows to owners */

/* Rows to be sent. A first pass counts them, a second one sorts them by rank. */
typedef struct row_mail {
  int size;
  size_t *send, *receive, *one, *at; /* [size] bytes, but `at`: rows */
  row_key *sent, *received;
  int64_t n; /* received */
  row_key now;
} row_mail;

static void post(void *context, int32_t owner)
{
  row_mail *m = context;
  const int to = owner % m->size;
  if (m->sent)
    m->sent[m->at[to]++] = m->now;
  else
    m->send[to] += sizeof m->now;
}

static bool has_id(const row_key *k) { return k->id > 0; }

/* Right ascensions from -180 to 180 are in use too. Values beyond a full turn are not degrees, and files without
 * positions hold zeros. */
static bool has_place(const row_key *k)
{
  return fabs(k->ra) <= 360 && fabs(k->dec) <= 90 && !(k->ra == 0 && k->dec == 0);
}

static void post_by_id(row_mail *m)
{
  if (has_id(&m->now)) post(m, (int32_t)(syz_checksum(&m->now.id, sizeof m->now.id, 0) % (uint64_t)m->size));
}

static void post_by_place(row_mail *m)
{
  if (has_place(&m->now)) syz_cells_around(m->now.ra, m->now.dec, SAME_PLACE_ARCSEC / 3600, post, m);
}

static void post_rows(row_mail *m, int tables, const set_table *table, void (*post_row)(row_mail *m))
{
  for (int t = 0; t < tables; t++)
    for (int64_t i = 0; i < table[t].n; i++) {
      const syz_object *o = &table[t].object[i];
      m->now = (row_key){table[t].raw + i, o->object_id, o->ra, o->dec};
      post_row(m);
    }
}

static syz_status create_mail(row_mail *m, int size)
{
  syz_status st = SYZ_OK;
  *m = (row_mail){.size = size};
  SYZ_ALLOC(m->send, "rows to be compared", size);
  SYZ_ALLOC(m->receive, "rows to be compared", size);
  SYZ_ALLOC(m->one, "rows to be compared", size);
  SYZ_ALLOC(m->at, "rows to be compared", size);
  for (int r = 0; r < size; r++) m->one[r] = sizeof *m->send;
cleanup:
  return st;
}

static void destroy_mail(row_mail *m)
{
  syz_free(&m->send);
  syz_free(&m->receive);
  syz_free(&m->one);
  syz_free(&m->at);
  syz_free(&m->sent);
  syz_free(&m->received);
}

/* Allocate the send and receive buffers, whose sizes are now known. */
static syz_status make_buffers(row_mail *m)
{
  syz_status st = SYZ_OK;
  size_t send = 0, receive = 0;
  for (int r = 0; r < m->size; r++) {
    m->at[r] = send / sizeof *m->sent;
    send += m->send[r];
    receive += m->receive[r];
  }
  m->n = (int64_t)(receive / sizeof *m->received);
  SYZ_ALLOC(m->sent, "rows to be compared", send / sizeof *m->sent + 1);
  SYZ_ALLOC(m->received, "rows to be compared", m->n + 1);
cleanup:
  return st;
}

static syz_status send_rows(syz_comm *c, row_mail *m, int tables, const set_table *table, void (*post_row)(row_mail *m))
{
  syz_status st = SYZ_OK;
  SYZ_TRY_ALL(c, create_mail(m, syz_comm_size(c)));
  post_rows(m, tables, table, post_row);
  syz_alltoallv(c, m->send, m->one, m->receive, m->one);
  SYZ_TRY_ALL(c, make_buffers(m));
  post_rows(m, tables, table, post_row);
  syz_alltoallv(c, m->sent, m->send, m->received, m->receive);
  syz_free(&m->sent);
cleanup:
  return st;
}

/* ------------------------------------------------ rank-local: finding pairs */

static syz_status add_pair(pair_list *l, int64_t first, int64_t second)
{
  syz_status st = SYZ_OK;
  if (first == second) return SYZ_OK; /* the same row, received for two cells */
  SYZ_TRY(syz_grow(&l->pair, "copies", l->n, 1, &l->room));
  l->pair[l->n++] = (row_pair){first, second};
cleanup:
  return st;
}

static int compare_raw(const row_key *a, const row_key *b) { return (a->raw > b->raw) - (a->raw < b->raw); }

static int by_id(const void *x, const void *y)
{
  const row_key *a = x, *b = y;
  return a->id != b->id ? (a->id < b->id ? -1 : 1) : compare_raw(a, b);
}

static int by_place(const void *x, const void *y)
{
  const row_key *a = x, *b = y;
  if (a->ra != b->ra) return a->ra < b->ra ? -1 : 1;
  if (a->dec != b->dec) return a->dec < b->dec ? -1 : 1;
  return compare_raw(a, b);
}

/* Whether two places are too far apart for a position error. */
static bool is_far(const row_key *a, const row_key *b)
{
  return has_place(a) && has_place(b) && syz_separation(a->ra, a->dec, b->ra, b->dec) > FAR_ARCSEC / 3600;
}

static syz_status pair_ids(row_mail *m, pair_list *l)
{
  syz_status st = SYZ_OK;
  row_key *k = m->received;
  qsort(k, (size_t)m->n, sizeof *k, by_id);
  for (int64_t i = 1, first = 0; i < m->n; i++) {
    if (k[i].id != k[first].id) {
      first = i;
      continue;
    }
    l->far += is_far(&k[first], &k[i]);
    SYZ_TRY(add_pair(l, k[first].raw, k[i].raw));
  }
cleanup:
  return st;
}

/* The first row of row i's group (union-find with path halving). */
static int64_t root_of(int64_t *parent, int64_t i)
{
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

typedef struct near_search {
  int64_t *parent, from;
} near_search;

static bool join_near(void *context, int64_t number)
{
  near_search *s = context;
  int64_t a = root_of(s->parent, s->from), b = root_of(s->parent, number);
  s->parent[a > b ? a : b] = a > b ? b : a;
  return true;
}

/* Rows at exactly the same place become pairs; k keeps the first row of each place. *places: number of places. */
static syz_status pair_equal_places(row_mail *m, pair_list *l, int64_t *places)
{
  syz_status st = SYZ_OK;
  row_key *k = m->received;
  qsort(k, (size_t)m->n, sizeof *k, by_place);
  *places = 0;
  for (int64_t i = 0; i < m->n; i++) {
    const row_key *last = *places ? &k[*places - 1] : NULL;
    if (last && last->ra == k[i].ra && last->dec == k[i].dec)
      SYZ_TRY(add_pair(l, last->raw, k[i].raw));
    else
      k[(*places)++] = k[i];
  }
cleanup:
  return st;
}

static syz_status pair_places(row_mail *m, pair_list *l)
{
  syz_status st = SYZ_OK;
  int64_t n = 0;
  double *ra = NULL, *dec = NULL;
  near_search s = {0};
  syz_skytree *tree = NULL;
  const row_key *k = m->received;
  SYZ_TRY(pair_equal_places(m, l, &n));
  SYZ_ALLOC(ra, "places", n + 1);
  SYZ_ALLOC(dec, "places", n + 1);
  SYZ_ALLOC(s.parent, "places", n + 1);
  for (int64_t i = 0; i < n; i++) {
    ra[i] = k[i].ra;
    dec[i] = k[i].dec;
    s.parent[i] = i;
  }
  SYZ_TRY(syz_skytree_create(n, ra, dec, &tree));
  for (s.from = 0; s.from < n; s.from++)
    syz_skytree_within(tree, ra[s.from], dec[s.from], SAME_PLACE_ARCSEC / 3600, join_near, &s);
  for (int64_t i = 0; i < n; i++) SYZ_TRY(add_pair(l, k[root_of(s.parent, i)].raw, k[i].raw));
cleanup:
  syz_skytree_destroy(&tree);
  syz_free(&ra);
  syz_free(&dec);
  syz_free(&s.parent);
  return st;
}

/* ------------------------------------------------------- rank 0: grouping */

static bool is_published(const syz_shardset *s, int64_t raw)
{
  return set_layout_of(set_part_at(s, raw))->is_published;
}

/* Whether row a rather than b decides the side of both. */
static bool goes_before(const syz_shardset *s, int64_t a, int64_t b)
{
  const bool a_stays = is_published(s, a), b_stays = is_published(s, b);
  return a_stays != b_stays ? a_stays : a < b;
}

/* How many rows joined the requested split, and how many left it. */
typedef struct moves {
  int64_t in, out;
} moves;

static void move(syz_shardset *s, int64_t *parent, int64_t raw, moves *moved)
{
  const bool wanted = set_kept_has(&s->kept, root_of(parent, raw));
  if (set_kept_has(&s->kept, raw) == wanted || is_published(s, raw)) return;
  set_kept_put(&s->kept, raw, wanted);
  moved->in += wanted;
  moved->out += !wanted;
}

static syz_status move_copies(syz_shardset *s, int64_t n, const row_pair *pair, moves *moved)
{
  syz_status st = SYZ_OK;
  int64_t *parent = NULL;
  SYZ_ALLOC(parent, "groups of copies", s->raw_size);
  for (int64_t i = 0; i < s->raw_size; i++) parent[i] = i;
  for (int64_t i = 0; i < n; i++) {
    int64_t a = root_of(parent, pair[i].first), b = root_of(parent, pair[i].second);
    if (a == b) continue;
    if (goes_before(s, a, b))
      parent[b] = a;
    else
      parent[a] = b;
  }
  for (int64_t i = 0; i < n; i++) {
    move(s, parent, pair[i].first, moved);
    move(s, parent, pair[i].second, moved);
  }
cleanup:
  syz_free(&parent);
  return st;
}

/* ------------------------------------------------------------- collective */

static syz_status find_pairs(syz_comm *c, int tables, const set_table *table, pair_list *l)
{
  syz_status st = SYZ_OK;
  row_mail m = {0};
  SYZ_TRY(send_rows(c, &m, tables, table, post_by_id));
  SYZ_TRY_ALL(c, pair_ids(&m, l));
  destroy_mail(&m);
  SYZ_TRY(send_rows(c, &m, tables, table, post_by_place));
  SYZ_TRY_ALL(c, pair_places(&m, l));
cleanup:
  destroy_mail(&m);
  return st;
}

/* Gather the pairs of all ranks on rank 0. */
static syz_status gather_pairs(syz_comm *c, const pair_list *mine, row_pair **all, int64_t *n)
{
  syz_status st = SYZ_OK;
  const size_t bytes = (size_t)mine->n * sizeof *mine->pair;
  size_t *each = syz_alloc("copies", (size_t)syz_comm_size(c), sizeof *each), sum = 0;
  SYZ_TRY_ALL(c, each ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_allgather(c, &bytes, each, sizeof bytes);
  for (int r = 0; r < syz_comm_size(c); r++) sum += each[r];
  *n = (int64_t)(sum / sizeof **all);
  if (syz_comm_rank(c) == 0) *all = syz_alloc("copies", (size_t)*n + 1, sizeof **all);
  SYZ_TRY_ALL(c, *all || syz_comm_rank(c) ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_gatherv(c, mine->pair, *all, each, 0);
cleanup:
  syz_free(&each);
  return st;
}

static syz_status keep_copies_together(syz_shardset *s, syz_split split, int tables, const set_table *table)
{
  syz_status st = SYZ_OK;
  pair_list mine = {0};
  row_pair *all = NULL;
  int64_t n = 0;
  moves moved = {0};
  SYZ_TRY(find_pairs(s->comm, tables, table, &mine));
  SYZ_TRY(gather_pairs(s->comm, &mine, &all, &n));
  syz_allreduce_i64(s->comm, &mine.far, 1, SYZ_SUM);
  if (mine.far)
    syz_warn(
        "%lld rows have the identifier of an earlier row that is more than an arcminute away: they count as the same "
        "object and stay on its side of the split; ingest.id can give sources other identifiers",
        (long long)mine.far);
  if (!n) goto cleanup;
  SYZ_TRY_ALL(s->comm, syz_comm_rank(s->comm) == 0 ? move_copies(s, n, all, &moved) : SYZ_OK);
  syz_bcast(s->comm, &moved, sizeof moved, 0);
  syz_bcast(s->comm, s->kept.bits, set_kept_bytes(&s->kept), 0);
  if (moved.in + moved.out)
    syz_info("%lld rows follow a copy on the other side of the split: the %s set gains %lld and loses %lld",
             (long long)(moved.in + moved.out), split == SYZ_SPLIT_TRAIN ? "train" : "test", (long long)moved.in,
             (long long)moved.out);
cleanup:
  syz_free(&mine.pair);
  syz_free(&all);
  return st;
}

/* Apply the first rule. Returns whether copies may change it. */
static bool take_first_rows(syz_shardset *s, syz_split split)
{
  bool may_move = false;
  for (int i = 0; i < s->parts; i++) {
    const set_part *p = &s->part[i];
    const int64_t train = (int64_t)(0.8 * (double)p->rows); /* as published: src/sky/README.md "HDF5 files of others" */
    const int64_t first = split == SYZ_SPLIT_TEST ? train : 0, end = split == SYZ_SPLIT_TRAIN ? train : p->rows;
    for (int64_t row = first; row < end; row++) set_kept_put(&s->kept, p->raw + row, true);
    may_move |= split != SYZ_SPLIT_ALL && p->rows > 0 && !set_layout_of(p)->is_published;
  }
  return may_move;
}

syz_status set_split_rows(syz_shardset *s, syz_split split, int tables, const set_table *table)
{
  syz_status st = SYZ_OK;
  SYZ_TRY_ALL(s->comm, set_kept_create(s->raw_size, &s->kept));
  if (take_first_rows(s, split)) SYZ_TRY(keep_copies_together(s, split, tables, table));
  set_kept_count(&s->kept);
cleanup:
  return st;
}
