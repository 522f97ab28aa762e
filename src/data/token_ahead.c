/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A thread that reads the next step's tokens while this step computes. There is one read at a time, into memory of the
 * caller, so that nothing is copied; the caller alternates between two buffers.
 */
#include "token_ahead.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

typedef enum token_state { IDLE, ASKED, DONE, ENDS } token_state;

struct token_ahead {
  token_read *read;
  const void *context;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool is_running, has_lock, has_condition;
  token_state state; /* under the lock; the thread owns the other fields while this is ASKED, otherwise the caller */
  int64_t n, room;
  int64_t *row; /* [room] */
  unsigned char *to;
  syz_status st;
  char text[SYZ_ERROR_TEXT];
};

static void *run(void *ahead)
{
  token_ahead *a = ahead;
  pthread_mutex_lock(&a->lock);
  for (;;) {
    while (a->state != ASKED && a->state != ENDS) pthread_cond_wait(&a->changed, &a->lock);
    if (a->state == ENDS) break;
    pthread_mutex_unlock(&a->lock);
    a->st = a->read(a->context, a->n, a->row, a->to);
    if (a->st != SYZ_OK)
      snprintf(a->text, sizeof a->text, "%s", syz_error_text()); /* the text of this thread; the caller has its own */
    pthread_mutex_lock(&a->lock);
    a->state = DONE;
    pthread_cond_broadcast(&a->changed);
  }
  pthread_mutex_unlock(&a->lock);
  return NULL;
}

/* Wait until the thread is idle, without changing the state. */
static void wait_for_end(token_ahead *a)
{
  pthread_mutex_lock(&a->lock);
  while (a->state == ASKED) pthread_cond_wait(&a->changed, &a->lock);
  pthread_mutex_unlock(&a->lock);
}

static void set_state(token_ahead *a, token_state state)
{
  pthread_mutex_lock(&a->lock);
  a->state = state;
  pthread_cond_broadcast(&a->changed);
  pthread_mutex_unlock(&a->lock);
}

syz_status token_ahead_create(token_read *read, const void *context, token_ahead **out)
{
  syz_status st = SYZ_OK;
  token_ahead *a = NULL;
  sigset_t all, before;
  *out = NULL;
  SYZ_ALLOC(a, "reading ahead", 1);
  a->read = read;
  a->context = context;
  a->has_lock = pthread_mutex_init(&a->lock, NULL) == 0;
  a->has_condition = pthread_cond_init(&a->changed, NULL) == 0;
  sigfillset(&all); /* signals are the main thread's */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  a->is_running = a->has_lock && a->has_condition && pthread_create(&a->thread, NULL, run, a) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  SYZ_REQUIRE(a->is_running, SYZ_ERR_MEMORY, "cannot start the thread that reads tokens ahead");
  *out = a;
  a = NULL;
cleanup:
  token_ahead_destroy(&a);
  return st;
}

void token_ahead_destroy(token_ahead **ahead)
{
  token_ahead *a = *ahead;
  if (!a) return;
  if (a->is_running) {
    wait_for_end(a);
    set_state(a, ENDS);
    pthread_join(a->thread, NULL);
  }
  if (a->has_condition) pthread_cond_destroy(&a->changed);
  if (a->has_lock) pthread_mutex_destroy(&a->lock);
  syz_free(&a->row);
  syz_free(ahead);
}

syz_status token_ahead_begin(token_ahead *a, int64_t n, const int64_t *row, unsigned char *to)
{
  syz_status st = SYZ_OK;
  wait_for_end(a);
  set_state(a, IDLE);
  if (n > a->room) {
    syz_free(&a->row);
    a->room = 0;
    SYZ_ALLOC(a->row, "rows read ahead", n);
    a->room = n;
  }
  if (n > 0) memcpy(a->row, row, (size_t)n * sizeof *row);
  a->n = n;
  a->to = to;
  a->st = SYZ_OK;
  set_state(a, ASKED);
cleanup:
  return st;
}

bool token_ahead_wait(token_ahead *a, int64_t n, const int64_t *row, const unsigned char *to, syz_status *st)
{
  wait_for_end(a); /* also before the buffer of an unused read is used for something else */
  if (a->state != DONE) return false;
  if (n != a->n || to != a->to || (n > 0 && memcmp(row, a->row, (size_t)n * sizeof *row) != 0)) return false;
  set_state(a, IDLE);
  *st = a->st;
  if (*st != SYZ_OK) *st = syz_error_set(*st, __FILE__, __LINE__, "%s", a->text);
  return true;
}
