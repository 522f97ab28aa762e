/* SPDX-License-Identifier: BSD-3-Clause */
/** A group in two levels, nodes and their ranks, and which rank of a node exchanges data with which rank elsewhere. */
#include "comm.h"

/* Nodes are numbered in the order of their first ranks; key[r] is the first rank of r's node. */
static void number_nodes(syz_nodes *n, const int *key, int size)
{
  n->n = 0;
  for (int r = 0; r < size; r++) {
    if (key[r] == r) n->node[r] = n->n++;
    n->node[r] = n->node[key[r]];
  }
  for (int k = 0, at = 0; k <= n->n; k++) {
    n->first[k] = at;
    for (int r = 0; r < size; r++) {
      if (n->node[r] != k) continue;
      n->place[r] = at - n->first[k];
      n->rank[at++] = r;
    }
  }
}

static syz_status create_tables(syz_nodes *n, int size)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(n->node, "nodes", size);
  SYZ_ALLOC(n->place, "nodes", size);
  SYZ_ALLOC(n->rank, "nodes", size);
  SYZ_ALLOC(n->first, "nodes", size + 1);
  SYZ_ALLOC(n->behind, "nodes", size);
cleanup:
  return st;
}

/* The ranks of other nodes for which this rank stands in on its own node. */
static void find_behind(syz_nodes *n)
{
  const int size = syz_comm_size(n->all), me = syz_comm_rank(n->all);
  for (int r = 0; r < size; r++)
    if (n->node[r] != n->mine && syz_nodes_stand_in(n, n->mine, r) == me) n->behind[n->n_behind++] = r;
}

syz_status syz_nodes_create(syz_comm *all, int ranks_per_node, syz_nodes **out)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(all), rank = syz_comm_rank(all);
  syz_nodes *n = NULL;
  syz_comm *machine = NULL;
  int *key = NULL, mine, first;
  *out = NULL;
  n = syz_alloc("nodes", 1, sizeof *n);
  if (n) n->all = all;
  SYZ_TRY_ALL(all, n ? create_tables(n, size) : SYZ_ERR_MEMORY);
  key = syz_alloc("nodes", (size_t)size, sizeof *key);
  SYZ_TRY_ALL(all, key ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_comm_split_node(all, &machine));
  mine = ranks_per_node > 0 ? syz_comm_rank(machine) / ranks_per_node : 0;
  SYZ_TRY(syz_comm_split(machine, mine, &n->local)); /* a failure reaches `all` below */
cleanup:
  if (machine) st = syz_agree(all, st);
  if (st == SYZ_OK) {
    first = rank;
    syz_bcast(n->local, &first, sizeof first, 0);
    syz_allgather(all, &first, key, sizeof first);
    number_nodes(n, key, size);
    n->mine = n->node[rank];
    find_behind(n);
    n->n_peers = n->n - 1 + n->n_behind;
    st = syz_agree(all, syz_request_create(all, n->n_peers, &n->travel));
  }
  syz_comm_destroy(&machine);
  syz_free(&key);
  if (st != SYZ_OK) syz_nodes_destroy(&n);
  *out = n;
  return st;
}

void syz_nodes_destroy(syz_nodes **nodes)
{
  syz_nodes *n = *nodes;
  if (!n) return;
  syz_request_destroy(&n->travel);
  syz_comm_destroy(&n->local);
  syz_free(&n->node);
  syz_free(&n->place);
  syz_free(&n->rank);
  syz_free(&n->first);
  syz_free(&n->behind);
  syz_free(nodes);
}

int syz_nodes_stand_in(const syz_nodes *n, int node, int rank)
{
  const int ranks = n->first[node + 1] - n->first[node];
  return n->rank[n->first[node] + n->place[rank] % ranks];
}

void syz_nodes_spread(syz_nodes *n, void *block, const size_t *first, const size_t *bytes)
{
  enum { TAG = 74, PIECE = COMM_CHUNK };
  const int size = syz_comm_size(n->all), me = syz_comm_rank(n->all);
  size_t longest = 0;
  char *to = block;
  for (int r = 0; r < size; r++) longest = bytes[r] > longest ? bytes[r] : longest;
  for (size_t at = 0; at < longest && n->n > 1; at += PIECE) {
    for (int i = 0; i < n->n_behind; i++) {
      const int r = n->behind[i];
      if (at < bytes[r])
        syz_request_receive(n->travel, to + first[r] + at, bytes[r] - at < PIECE ? bytes[r] - at : PIECE, r, TAG);
    }
    for (int k = 0; k < n->n; k++)
      if (k != n->mine && at < bytes[me])
        syz_request_send(n->travel, to + first[me] + at, bytes[me] - at < PIECE ? bytes[me] - at : PIECE,
                         syz_nodes_stand_in(n, k, me), TAG);
    syz_request_wait(n->travel);
  }
  syz_barrier(n->local);
}
