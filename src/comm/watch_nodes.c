/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Signs of life between nodes: the first rank of each node sends a small UDP message to the next node, which watches
 * it, and to the first node, which alone can find that all nodes wait for one another. Files could carry the same, but
 * a stalled file system would then be mistaken for a stalled node; and MPI must not be called from a second thread.
 * Addresses are exchanged by MPI at the start. Where a firewall blocks the messages nothing is concluded from their
 * absence: a node is watched from its first message on.
 *
 * Messages contain a secret of the job, so that no other program can end it. It is sent unencrypted: anyone who can
 * read the cluster's network can end the job, as with Open MPI's own messages.
 */
/* getifaddrs is outside POSIX. */
#define _DEFAULT_SOURCE

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

enum { ADDRESSES = 6, SECRET = 16, REPEATS = 3 };
static const uint64_t magic = 0x68637461577a7973; /* "syzWatch" */

/* How a node is reached; addresses and port in network byte order. */
typedef struct peer {
  char host[WATCH_TEXT];
  int32_t first_rank, ranks;
  int32_t n_addresses;
  uint32_t address[ADDRESSES];
  uint16_t port;
} peer;

typedef enum kind { KIND_LIVES, KIND_END, KIND_DONE } kind;

typedef struct message {
  uint64_t magic;
  unsigned char secret[SECRET];
  int32_t from, kind, all_wait;
} message;

struct watch_nodes {
  int n, me, socket;
  peer *peer;
  unsigned char secret[SECRET];
  bool end_asked;
  /* For each node that sends messages to this one. */
  double *heard_s; /* -1: never */
  bool *waits, *is_done;
};

/* Addresses of this machine, without loopback ones unless there are no others. */
static void find_addresses(peer *p)
{
  struct ifaddrs *all = NULL;
  if (getifaddrs(&all) != 0) return;
  for (int inner = 0; inner < 2; inner++)
    for (const struct ifaddrs *a = all; a && p->n_addresses < ADDRESSES; a = a->ifa_next) {
      if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || !(a->ifa_flags & IFF_UP)) continue;
      if (!!(a->ifa_flags & IFF_LOOPBACK) != inner || (inner && p->n_addresses > 0)) continue;
      struct sockaddr_in in;
      memcpy(&in, a->ifa_addr, sizeof in);
      p->address[p->n_addresses++] = in.sin_addr.s_addr;
    }
  freeifaddrs(all);
}

/* If it cannot be opened that is no failure: other nodes then receive nothing from this one. */
static void open_socket(watch_nodes *n, peer *mine)
{
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
  socklen_t size = sizeof any;
  gethostname(mine->host, sizeof mine->host - 1);
  n->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (n->socket < 0 || bind(n->socket, (struct sockaddr *)&any, sizeof any) != 0 ||
      getsockname(n->socket, (struct sockaddr *)&any, &size) != 0)
    return;
  mine->port = any.sin_port;
  find_addresses(mine);
}

static syz_status meet(syz_comm *firsts, int rank, int ranks_here, watch_nodes **out)
{
  syz_status st = SYZ_OK;
  watch_nodes *n;
  peer mine = {.first_rank = rank, .ranks = ranks_here};
  SYZ_ALLOC(*out, "watchdog of nodes", 1);
  n = *out;
  n->socket = -1;
  n->n = syz_comm_size(firsts);
  n->me = syz_comm_rank(firsts);
  SYZ_ALLOC(n->peer, "watchdog of nodes", n->n);
  SYZ_ALLOC(n->heard_s, "watchdog of nodes", n->n);
  SYZ_ALLOC(n->waits, "watchdog of nodes", n->n);
  SYZ_ALLOC(n->is_done, "watchdog of nodes", n->n);
  for (int i = 0; i < n->n; i++) n->heard_s[i] = -1;
  open_socket(n, &mine);
  n->peer[n->me] = mine;
cleanup:
  return st;
}

static void tell(const watch_nodes *n, int to, kind what, bool all_wait);
static void hear(watch_nodes *n, double now_s);

/* Exchange first messages, so that silence has a meaning from the start. Wait a moment for late ones. */
static void greet(syz_comm *firsts, watch_nodes *n)
{
  const struct timespec nap = {.tv_nsec = 10000000};
  const int before = (n->me + n->n - 1) % n->n;
  tell(n, (n->me + 1) % n->n, KIND_LIVES, false);
  tell(n, 0, KIND_LIVES, false);
  syz_barrier(firsts);
  for (int i = 0; i < 20 && n->heard_s[before] < 0; i++) {
    hear(n, 0);
    if (n->heard_s[before] < 0) nanosleep(&nap, NULL);
  }
}

syz_status watch_nodes_create(syz_comm *world, bool is_first_of_node, int ranks_here, watch_nodes **out)
{
  syz_status st = SYZ_OK;
  syz_comm *firsts = NULL;
  *out = NULL;
  SYZ_TRY(syz_comm_split(world, is_first_of_node ? 0 : -1, &firsts));
  st = firsts && syz_comm_size(firsts) > 1 ? meet(firsts, syz_comm_rank(world), ranks_here, out) : SYZ_OK;
  SYZ_TRY_ALL(world, st);
  if (*out) {
    watch_nodes *n = *out;
    const peer mine = n->peer[n->me];
    syz_allgather(firsts, &mine, n->peer, sizeof mine);
    int64_t is_secret = n->me == 0 && getrandom(n->secret, SECRET, 0) == SECRET;
    syz_bcast(firsts, &is_secret, sizeof is_secret, 0);
    syz_bcast(firsts, n->secret, SECRET, 0);
    if (!is_secret &&
        n->socket >= 0) { /* without a secret, messages cannot be told from those of other programs, so none are read */
      close(n->socket);
      n->socket = -1;
    }
    greet(firsts, n);
  }
cleanup:
  if (st != SYZ_OK) watch_nodes_destroy(out);
  syz_comm_destroy(&firsts);
  return st;
}

void watch_nodes_destroy(watch_nodes **n)
{
  if (!*n) return;
  if ((*n)->socket >= 0) close((*n)->socket);
  syz_free(&(*n)->peer);
  syz_free(&(*n)->heard_s);
  syz_free(&(*n)->waits);
  syz_free(&(*n)->is_done);
  syz_free(n);
}

static void tell(const watch_nodes *n, int to, kind what, bool all_wait)
{
  const peer *p = &n->peer[to];
  message m = {.magic = magic, .from = n->me, .kind = (int32_t)what, .all_wait = all_wait};
  if (to == n->me || n->socket < 0) return;
  memcpy(m.secret, n->secret, SECRET);
  for (int i = 0; i < p->n_addresses; i++) {
    const struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = p->port, .sin_addr.s_addr = p->address[i]};
    (void)!sendto(n->socket, &m, sizeof m, 0, (const struct sockaddr *)&in, sizeof in);
  }
}

static void hear(watch_nodes *n, double now_s)
{
  message m;
  if (n->socket < 0) return;
  for (int i = 0; i < 64 * n->n; i++) { /* bounded, however many messages arrive */
    const ssize_t size = recv(n->socket, &m, sizeof m, MSG_TRUNC);
    if (size < 0) break;
    if (size != (ssize_t)sizeof m || m.magic != magic || memcmp(m.secret, n->secret, SECRET) != 0 || m.from < 0 ||
        m.from >= n->n)
      continue;
    n->heard_s[m.from] = now_s;
    n->waits[m.from] = m.all_wait != 0;
    if (m.kind == KIND_DONE) n->is_done[m.from] = true;
    if (m.kind == KIND_END) n->end_asked = true;
  }
}

void watch_nodes_exchange(watch_nodes *n, double now_s, bool all_wait)
{
  const int next = (n->me + 1) % n->n;
  hear(n, now_s);
  tell(n, next, KIND_LIVES, all_wait);
  if (next != 0) tell(n, 0, KIND_LIVES, all_wait);
}

bool watch_nodes_end_asked(const watch_nodes *n) { return n->end_asked; }

int watch_nodes_all_wait(const watch_nodes *n, double now_s, double fresh_s)
{
  bool all_known = n->me == 0; /* other ranks receive messages from one node only */
  for (int i = 0; i < n->n; i++) {
    if (i == n->me || n->is_done[i]) continue;
    const bool is_known = n->heard_s[i] >= 0 && now_s - n->heard_s[i] < fresh_s;
    if (is_known && !n->waits[i]) return -1;
    all_known = all_known && is_known;
  }
  return all_known ? 1 : 0;
}

double watch_nodes_silence_s(const watch_nodes *n, double now_s, char text[2 * WATCH_TEXT])
{
  const int before = (n->me + n->n - 1) % n->n;
  const peer *p = &n->peer[before];
  if (p->ranks > 1)
    snprintf(text, 2 * WATCH_TEXT, "%.60s (ranks %d and %d others)", p->host, p->first_rank, p->ranks - 1);
  else
    snprintf(text, 2 * WATCH_TEXT, "%.60s (rank %d)", p->host, p->first_rank);
  return n->heard_s[before] < 0 || n->is_done[before] ? 0 : now_s - n->heard_s[before];
}

void watch_nodes_say_end(watch_nodes *n)
{
  for (int k = 0; k < REPEATS; k++)
    for (int i = 0; i < n->n; i++) tell(n, i, KIND_END, false);
}

void watch_nodes_say_done(watch_nodes *n)
{
  for (int k = 0; k < REPEATS; k++) {
    tell(n, (n->me + 1) % n->n, KIND_DONE, true);
    tell(n, 0, KIND_DONE, true);
  }
}
