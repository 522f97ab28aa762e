/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Read-ahead: a thread fills a ring of batches while the network uses the current one.
 *
 * The thread reads with pread, augments, maps colours and crops; it calls neither MPI nor HDF5 (which is not
 * thread-safe here). Objects whose pixels only HDF5 can read (chunked, compressed, of another type) are read by
 * syz_loader_next on the main thread. All memory is allocated when the loader is made: ahead + 1 batches, and scratch
 * for one object on each of the two threads, for the requested arrays only.
 *
 * Cost of the published crops (2 x 144 + 8 x 60, blur and noise, colours): 0.36 ms per object on one core (AVX2, Zen
 * 5), half of it colours.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "augment.h"
#include "crops.h"
#include "shardset.h"

typedef struct slot {
  int64_t step;
  int64_t *index, *place;
  float *image, *flux, *ivar;
  float *crop[SYZ_CROP_GROUPS];
  bool *is_left; /* objects left to the main thread */
  bool has_left;
  syz_status st; /* status of the thread's work */
  char text[SYZ_ERROR_TEXT];
} slot;

/* Scratch with which one thread prepares an object. */
typedef struct workplace {
  float *image, *ivar, *crop;
} workplace;

struct syz_loader {
  syz_shardset *set;
  syz_loader_config config; /* crops points to the copy below */
  syz_crops_augment crops;
  slot *ring;
  int slots;
  syz_arena memory; /* of the batches and workplaces */
  workplace thread_place, main_place;
  set_reader reader; /* for the thread; the set has one for the main thread */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool is_running, has_lock, has_condition;
  /* Under the lock: batches made and given back so far, and the request to end. */
  int64_t made, given_back;
  bool ends;
  int64_t next; /* main thread: the next step */
  bool holds;   /* the caller has a batch */
};

/* One row of pixels at a time, which needs no buffer and keeps crops out of the colour mapping. */
static void crop_and_map(const float *image, int64_t size, float *planes)
{
  float in[SYZ_BANDS * SYZ_IMAGE_SIZE], out[SYZ_BANDS * SYZ_IMAGE_SIZE];
  int64_t edge = (SYZ_IMAGE_SIZE - size) / 2;
  for (int64_t y = 0; y < size; y++) {
    for (int64_t b = 0; b < SYZ_BANDS; b++)
      memcpy(in + b * size, image + b * SET_PLANE + (y + edge) * SYZ_IMAGE_SIZE + edge, (size_t)size * sizeof *in);
    syz_colour_map(out, in, size);
    for (int64_t b = 0; b < SYZ_BANDS; b++)
      memcpy(planes + (b * size + y) * size, out + b * size, (size_t)size * sizeof *out);
  }
}

void syz_prepare_images(const float *image, int64_t n, int64_t size, float *planes)
{
  SYZ_ASSERT(size >= 1 && size <= SYZ_IMAGE_SIZE);
  for (int64_t i = 0; i < n; i++) crop_and_map(image + i * SET_IMAGE, size, planes + i * SYZ_BANDS * size * size);
}

/* Which arrays are read from the files. Noise on spectra needs the inverse variances even when the caller does not.
 */
static bool reads_image(const syz_loader_config *c) { return c->image_size > 0 || c->crops; }
static bool reads_ivar(const syz_loader_config *c)
{
  return c->wants_flux && (c->wants_ivar || c->augment.spectrum_noise > 0);
}

/* Floats of an object in a batch. */
static int64_t planes_floats(const syz_loader_config *c) { return SYZ_BANDS * c->image_size * c->image_size; }
static int64_t crops_floats(const syz_loader_config *c, int g)
{
  return c->crops ? c->crops->count[g] * SYZ_BANDS * c->crops->size[g] * c->crops->size[g] : 0;
}

static void make_crops(const syz_loader_config *c, workplace *w, slot *s, int64_t i)
{
  const syz_crops_augment *a = c->crops;
  for (int g = 0; g < SYZ_CROP_GROUPS; g++) {
    const int64_t floats = crops_floats(c, g);
    for (int64_t k = 0; k < a->count[g]; k++)
      syz_crop_make(a, c->sampler.seed, s->step, s->place[i], g, k, w->image,
                    s->crop[g] + i * floats + k * (floats / a->count[g]), w->crop);
  }
}

static syz_status refuse_imageless(const syz_loader *l, int64_t index)
{
  char where[512];
  syz_shardset_describe(l->set, index, where, sizeof where);
  return syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__, "%s: it has no image to cut crops from", where);
}

/* One object of a batch, on either thread. */
static syz_status prepare(syz_loader *l, workplace *w, slot *s, int64_t i, bool is_main)
{
  syz_status st = SYZ_OK;
  const syz_loader_config *c = &l->config;
  const syz_object *o = &l->set->object[s->index[i]];
  float *flux = c->wants_flux ? s->flux + i * SYZ_SPECTRUM_PIXELS : NULL;
  float *image = w->image, *ivar = s->ivar ? s->ivar + i * SYZ_SPECTRUM_PIXELS : w->ivar; /* NULL when not wanted */
  syz_pulse();
  SYZ_REQUIRE(!syz_fault("loader_read"), SYZ_ERR_DATA, "object %lld: injected failure", (long long)o->object_id);
  if (c->crops && !o->has_image) SYZ_TRY(refuse_imageless(l, s->index[i]));
  if (is_main)
    SYZ_TRY(syz_shardset_read_one(l->set, s->index[i], image, flux, ivar));
  else
    SYZ_TRY(syz_shardset_read_direct(l->set, &l->reader, s->index[i], image, flux, ivar));
  if (flux && o->has_spectrum) syz_augment_spectrum(&c->augment, c->sampler.seed, s->step, s->place[i], flux, ivar);
  if (c->crops) make_crops(c, w, s, i);
  if (c->image_size) {
    if (o->has_image) syz_augment_image(&c->augment, c->sampler.seed, s->step, s->place[i], SYZ_IMAGE_SIZE, image);
    crop_and_map(image, c->image_size, s->image + i * planes_floats(c));
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
    s->is_left[i] = !syz_shardset_is_direct(l->set, s->index[i], reads_image(c), c->wants_flux, reads_ivar(c));
    s->has_left |= s->is_left[i];
    if (s->is_left[i]) continue;
    s->st = prepare(l, &l->thread_place, s, i, false);
    if (s->st == SYZ_OK) continue;
    snprintf(s->text, sizeof s->text, "%s",
             syz_error_text()); /* the text of this thread; the main thread has its own */
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

/* The arrays of a batch and of a workplace; the same calls first measure them, then allocate them. */
static void *take(syz_arena *a, int64_t floats)
{
  return floats > 0 ? syz_arena_take(a, (size_t)floats, sizeof(float)) : NULL;
}

static void lay_out_slot(const syz_loader_config *c, syz_arena *a, slot *s)
{
  const size_t objects = c->count > 0 ? (size_t)c->count : 1; /* no array is empty */
  s->index = syz_arena_take(a, objects, sizeof *s->index);
  s->place = syz_arena_take(a, objects, sizeof *s->place);
  s->is_left = syz_arena_take(a, objects, sizeof *s->is_left);
  s->image = take(a, (int64_t)objects * planes_floats(c));
  s->flux = c->wants_flux ? take(a, (int64_t)objects * SYZ_SPECTRUM_PIXELS) : NULL;
  s->ivar = c->wants_flux && c->wants_ivar ? take(a, (int64_t)objects * SYZ_SPECTRUM_PIXELS) : NULL;
  for (int g = 0; g < SYZ_CROP_GROUPS; g++) s->crop[g] = take(a, (int64_t)objects * crops_floats(c, g));
}

static void lay_out_place(const syz_loader_config *c, syz_arena *a, workplace *w)
{
  w->image = reads_image(c) ? take(a, SET_IMAGE) : NULL;
  w->ivar = reads_ivar(c) && !c->wants_ivar ? take(a, SYZ_SPECTRUM_PIXELS) : NULL;
  w->crop = c->crops ? take(a, (int64_t)syz_crop_scratch(c->crops)) : NULL;
}

/* ring [ahead + 1]; NULL while only measuring for a caller without a loader. */
static void lay_out(const syz_loader_config *c, syz_arena *a, slot *ring, workplace *thread_place,
                    workplace *main_place, float **axes)
{
  slot unused;
  for (int k = 0; k <= c->ahead; k++) lay_out_slot(c, a, ring ? &ring[k] : &unused);
  lay_out_place(c, a, thread_place);
  lay_out_place(c, a, main_place);
  *axes = reads_image(c) ? take(a, SET_IMAGE) : NULL; /* an image of another axis order */
}

static syz_status make_memory(syz_loader *l)
{
  syz_status st = SYZ_OK;
  l->slots = l->config.ahead + 1;
  SYZ_ALLOC(l->ring, "loader ring", l->slots);
  lay_out(&l->config, &l->memory, l->ring, &l->thread_place, &l->main_place, &l->reader.scratch);
  l->memory.size = l->memory.used;
  l->memory.used = 0;
  SYZ_ALLOC(l->memory.base, "batches read ahead", l->memory.size);
  lay_out(&l->config, &l->memory, l->ring, &l->thread_place, &l->main_place, &l->reader.scratch);
cleanup:
  return st;
}

size_t syz_loader_bytes(const syz_loader_config *config)
{
  syz_arena a = {0};
  workplace unused;
  float *axes;
  lay_out(config, &a, NULL, &unused, &unused, &axes);
  return a.used + (size_t)(config->ahead + 1) * sizeof(slot) + sizeof(syz_loader);
}

/* Signals are for the main thread: a thread that sleeps in pread must not receive SIGUSR1. */
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
  SYZ_REQUIRE((c->subset ? c->sampler.n >= 1 : c->sampler.n == s->size) && c->sampler.global_batch >= 1 &&
                  c->first_place >= 0 && c->count >= 0 && c->first_place + c->count <= c->sampler.global_batch &&
                  c->image_size >= 0 && c->image_size <= SYZ_IMAGE_SIZE && c->ahead >= 1 && c->first_step >= 0,
              SYZ_ERR_INTERNAL, "loader: n %lld of %lld, places %lld + %lld of %lld, image size %lld, ahead %d",
              (long long)c->sampler.n, (long long)s->size, (long long)c->first_place, (long long)c->count,
              (long long)c->sampler.global_batch, (long long)c->image_size, c->ahead);
  SYZ_REQUIRE(!c->crops || (c->image_size == 0 && !syz_augment_is_on(&c->augment) && syz_crops_are_sound(c->crops)),
              SYZ_ERR_INTERNAL, "loader: crops of sizes %lld and %lld, image size %lld, augmentation %s",
              (long long)c->crops->size[0], (long long)c->crops->size[1], (long long)c->image_size,
              syz_augment_is_on(&c->augment) ? "on" : "off");
  SYZ_REQUIRE(!c->wants_ivar || c->wants_flux, SYZ_ERR_INTERNAL, "loader: inverse variances are wanted without flux");
  SYZ_REQUIRE(!(c->wants_flux && c->augment.spectrum_noise > 0) || s->has_ivar, SYZ_ERR_INPUT,
              "%s: spectrum noise is wanted in units of 1/sqrt(ivar), but this data set holds no inverse variances",
              s->file[0].path);
  for (int64_t i = 0; c->subset && i < c->sampler.n; i++)
    SYZ_REQUIRE(c->subset[i] >= 0 && c->subset[i] < s->size, SYZ_ERR_INTERNAL,
                "loader: object %lld of the subset is number %lld of a data set of %lld", (long long)i,
                (long long)c->subset[i], (long long)s->size);
  SYZ_ALLOC(l, "loader", 1);
  l->set = s;
  l->config = *c;
  l->next = c->first_step;
  if (c->crops) {
    l->crops = *c->crops;
    l->config.crops = &l->crops;
  }
  syz_set_reader_begin(&l->reader);
  SYZ_TRY(make_memory(l));
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
  l->reader.scratch = NULL; /* part of the arena, not freed here */
  syz_set_reader_end(&l->reader);
  syz_free(&l->memory.base);
  syz_free(&l->ring);
  syz_free(loader);
}

syz_status syz_loader_next(syz_loader *l, syz_batch *out, double *wait_s)
{
  syz_status st = SYZ_OK;
  double t0 = syz_clock_s();
  SYZ_REQUIRE(l->next < l->config.last_step, SYZ_ERR_INTERNAL, "loader: step %lld was not announced (last %lld)",
              (long long)l->next, (long long)l->config.last_step - 1);
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
  *out = (syz_batch){.step = s->step,
                     .n = l->config.count,
                     .index = s->index,
                     .place = s->place,
                     .image = s->image,
                     .flux = s->flux,
                     .ivar = s->ivar};
  for (int g = 0; g < SYZ_CROP_GROUPS; g++) out->crop[g] = s->crop[g];
cleanup:
  if (wait_s) *wait_s += syz_clock_s() - t0;
  return st;
}
