/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Read-ahead: a thread fills a ring of batches while the network works on the one it was given.
 *
 * The thread reads with pread, augments, maps colours and crops; it calls neither MPI nor HDF5 (which is not thread-safe here). Objects
 * whose pixels only HDF5 can read (chunked, compressed, of another type) are left to syz_loader_next on the main thread. All memory is
 * taken when the loader is made: ahead + 1 batches and one object's scratch for each of the two threads.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "shardset.h"

typedef struct slot {
  int64_t step;
  int64_t *index, *place;
  float *image, *flux;
  bool *is_left; /* for the main thread */
  bool has_left;
  syz_status st; /* of the thread's work */
  char text[SYZ_ERROR_TEXT];
} slot;

/* What one thread needs to prepare an object. */
typedef struct workplace {
  set_reader reader;
  float *image, *ivar;
} workplace;

struct syz_loader {
  syz_shardset *set;
  syz_loader_config config;
  bool wants_image, wants_ivar;
  slot *ring;
  int slots;
  workplace thread_place, main_place;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool is_running, has_lock, has_condition;
  /* Under the lock: batches made and given back so far, and the wish to end. */
  int64_t made, given_back;
  bool ends;
  int64_t next; /* main thread: the step that comes next */
  bool holds;   /* the caller has a batch */
};

/* A row of pixels at a time: no buffer, and the colour mapping knows nothing of crops. */
static void crop_and_map(const float *image, int64_t size, float *planes)
{
  float in[SYZ_BANDS * SYZ_IMAGE_SIZE], out[SYZ_BANDS * SYZ_IMAGE_SIZE];
  int64_t edge = (SYZ_IMAGE_SIZE - size) / 2;
  for (int64_t y = 0; y < size; y++) {
    for (int64_t b = 0; b < SYZ_BANDS; b++)
      memcpy(in + b * size, image + b * SET_PLANE + (y + edge) * SYZ_IMAGE_SIZE + edge, (size_t)size * sizeof *in);
    syz_colour_map(out, in, size);
    for (int64_t b = 0; b < SYZ_BANDS; b++) memcpy(planes + (b * size + y) * size, out + b * size, (size_t)size * sizeof *out);
  }
}

void syz_prepare_images(const float *image, int64_t n, int64_t size, float *planes)
{
  SYZ_ASSERT(size >= 1 && size <= SYZ_IMAGE_SIZE);
  for (int64_t i = 0; i < n; i++) crop_and_map(image + i * SET_IMAGE, size, planes + i * SYZ_BANDS * size * size);
}

/* One object of a batch, on either thread. */
static syz_status prepare(syz_loader *l, workplace *w, slot *s, int64_t i, bool is_main)
{
  syz_status st = SYZ_OK;
  const syz_loader_config *c = &l->config;
  const syz_object *o = &l->set->object[s->index[i]];
  float *flux = c->wants_flux ? s->flux + i * SYZ_SPECTRUM_PIXELS : NULL;
  float *image = l->wants_image ? w->image : NULL, *ivar = l->wants_ivar ? w->ivar : NULL;
  SYZ_REQUIRE(!syz_fault("loader_read"), SYZ_ERR_DATA, "object %lld: injected failure", (long long)o->object_id);
  if (is_main) SYZ_TRY(syz_shardset_read_one(l->set, s->index[i], image, flux, ivar));
  else SYZ_TRY(syz_shardset_read_direct(l->set, &w->reader, s->index[i], image, flux, ivar));
  if (flux && o->has_spectrum) syz_augment_spectrum(&c->augment, c->sampler.seed, s->step, s->place[i], flux, ivar);
  if (image) {
    if (o->has_image) syz_augment_image(&c->augment, c->sampler.seed, s->step, s->place[i], SYZ_IMAGE_SIZE, image);
    crop_and_map(image, c->image_size, s->image + i * SYZ_BANDS * c->image_size * c->image_size);
  }
cleanup:
  return st;
}

static void fill(syz_loader *l, slot *s, int64_t step)
{
  const syz_loader_config *c = &l->config;
  s->step = step;
  s->st = SYZ_OK;
  s->has_left = false;
  for (int64_t i = 0; i < c->count; i++) {
    s->place[i] = c->first_place + i;
    s->index[i] = syz_sampler_index(&c->sampler, step, s->place[i]);
    if (c->subset) s->index[i] = c->subset[s->index[i]];
    s->is_left[i] = !syz_shardset_is_direct(l->set, s->index[i], l->wants_image, c->wants_flux, l->wants_ivar);
    s->has_left |= s->is_left[i];
    if (s->is_left[i]) continue;
    s->st = prepare(l, &l->thread_place, s, i, false);
    if (s->st == SYZ_OK) continue;
    snprintf(s->text, sizeof s->text, "%s", syz_error_text()); /* this thread's; the main thread has its own */
    return;
  }
}

static void *run(void *loader)
{
  syz_loader *l = loader;
  const syz_loader_config *c = &l->config;
  for (int64_t step = c->first_step; step < c->last_step; step++) {
    pthread_mutex_lock(&l->lock);
    while (!l->ends && l->made - l->given_back >= l->slots) pthread_cond_wait(&l->changed, &l->lock);
    bool ends = l->ends;
    int64_t made = l->made;
    pthread_mutex_unlock(&l->lock);
    if (ends) break;
    fill(l, &l->ring[made % l->slots], step);
    pthread_mutex_lock(&l->lock);
    l->made++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
  }
  return NULL;
}

static syz_status make_place(const syz_loader *l, workplace *w)
{
  syz_status st = SYZ_OK;
  syz_set_reader_begin(&w->reader);
  SYZ_ALLOC(w->reader.scratch, "loader scratch", SET_IMAGE);
  if (l->wants_image) SYZ_ALLOC(w->image, "loader image", SET_IMAGE);
  if (l->wants_ivar) SYZ_ALLOC(w->ivar, "loader ivar", SYZ_SPECTRUM_PIXELS);
cleanup:
  return st;
}

static void free_place(workplace *w)
{
  syz_set_reader_end(&w->reader);
  syz_free(&w->image);
  syz_free(&w->ivar);
}

static syz_status make_ring(syz_loader *l)
{
  syz_status st = SYZ_OK;
  const syz_loader_config *c = &l->config;
  l->slots = c->ahead + 1;
  SYZ_ALLOC(l->ring, "loader batches", l->slots);
  for (int k = 0; k < l->slots; k++) {
    slot *s = &l->ring[k];
    SYZ_ALLOC(s->index, "batch numbers", c->count + 1);
    SYZ_ALLOC(s->place, "batch places", c->count + 1);
    SYZ_ALLOC(s->is_left, "batch flags", c->count + 1);
    if (l->wants_image) SYZ_ALLOC(s->image, "batch images", c->count * SYZ_BANDS * c->image_size * c->image_size + 1);
    if (c->wants_flux) SYZ_ALLOC(s->flux, "batch spectra", c->count * SYZ_SPECTRUM_PIXELS + 1);
  }
  SYZ_TRY(make_place(l, &l->thread_place));
  SYZ_TRY(make_place(l, &l->main_place));
cleanup:
  return st;
}

/* Signals are the main thread's: SIGUSR1 must not be taken by a thread that sleeps in pread. */
static int start_thread(syz_loader *l)
{
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&l->thread, NULL, run, l);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

syz_status syz_loader_create(syz_shardset *s, const syz_loader_config *config, syz_loader **out)
{
  syz_status st = SYZ_OK;
  syz_loader *l = NULL;
  const syz_loader_config *c = config;
  *out = NULL;
  SYZ_REQUIRE((c->subset ? c->sampler.n >= 1 : c->sampler.n == s->size) && c->sampler.global_batch >= 1 && c->first_place >= 0 && c->count >= 0 &&
                  c->first_place + c->count <= c->sampler.global_batch && c->image_size >= 0 && c->image_size <= SYZ_IMAGE_SIZE && c->ahead >= 1 &&
                  c->first_step >= 0,
              SYZ_ERR_INTERNAL, "loader: n %lld of %lld, places %lld + %lld of %lld, image size %lld, ahead %d", (long long)c->sampler.n,
              (long long)s->size, (long long)c->first_place, (long long)c->count, (long long)c->sampler.global_batch, (long long)c->image_size,
              c->ahead);
  SYZ_REQUIRE(!(c->wants_flux && c->augment.spectrum_noise > 0) || s->has_ivar, SYZ_ERR_INPUT,
              "%s: spectrum noise is wanted in units of 1/sqrt(ivar), but this data set holds no inverse variances", s->file[0].path);
  for (int64_t i = 0; c->subset && i < c->sampler.n; i++)
    SYZ_REQUIRE(c->subset[i] >= 0 && c->subset[i] < s->size, SYZ_ERR_INTERNAL, "loader: object %lld of the subset is number %lld of a data set of %lld",
                (long long)i, (long long)c->subset[i], (long long)s->size);
  SYZ_ALLOC(l, "loader", 1);
  l->set = s;
  l->config = *c;
  l->next = c->first_step;
  l->wants_image = c->image_size > 0;
  l->wants_ivar = c->wants_flux && c->augment.spectrum_noise > 0;
  syz_set_reader_begin(&l->thread_place.reader);
  syz_set_reader_begin(&l->main_place.reader);
  SYZ_TRY(make_ring(l));
  l->has_lock = pthread_mutex_init(&l->lock, NULL) == 0;
  l->has_condition = pthread_cond_init(&l->changed, NULL) == 0;
  l->is_running = l->has_lock && l->has_condition && start_thread(l) == 0;
  SYZ_REQUIRE(l->is_running, SYZ_ERR_MEMORY, "cannot start the loader's thread");
  *out = l;
  l = NULL;
cleanup:
  syz_loader_destroy(&l);
  return st;
}

void syz_loader_destroy(syz_loader **loader)
{
  syz_loader *l = *loader;
  if (!l) return;
  if (l->is_running) {
    pthread_mutex_lock(&l->lock);
    l->ends = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
  }
  if (l->has_condition) pthread_cond_destroy(&l->changed);
  if (l->has_lock) pthread_mutex_destroy(&l->lock);
  for (int k = 0; l->ring && k < l->slots; k++) {
    slot *s = &l->ring[k];
    syz_free(&s->index);
    syz_free(&s->place);
    syz_free(&s->is_left);
    syz_free(&s->image);
    syz_free(&s->flux);
  }
  syz_free(&l->ring);
  free_place(&l->thread_place);
  free_place(&l->main_place);
  syz_free(loader);
}

syz_status syz_loader_next(syz_loader *l, syz_batch *out, double *wait_s)
{
  syz_status st = SYZ_OK;
  double t0 = syz_clock_s();
  SYZ_REQUIRE(l->next < l->config.last_step, SYZ_ERR_INTERNAL, "loader: step %lld was not announced (last %lld)", (long long)l->next,
              (long long)l->config.last_step - 1);
  pthread_mutex_lock(&l->lock);
  if (l->holds) l->given_back++;
  l->holds = true;
  pthread_cond_broadcast(&l->changed);
  while (l->made <= l->given_back) pthread_cond_wait(&l->changed, &l->lock);
  slot *s = &l->ring[l->given_back % l->slots];
  pthread_mutex_unlock(&l->lock);
  SYZ_ASSERT(s->step == l->next);
  l->next++;
  SYZ_REQUIRE(s->st == SYZ_OK, s->st, "%s", s->text);
  for (int64_t i = 0; s->has_left && i < l->config.count; i++)
    if (s->is_left[i]) SYZ_TRY(prepare(l, &l->main_place, s, i, true));
  *out = (syz_batch){.step = s->step, .n = l->config.count, .index = s->index, .place = s->place, .image = s->image, .flux = s->flux};
cleanup:
  if (wait_s) *wait_s += syz_clock_s() - t0;
  return st;
}
