/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The part `io` of `bench`: shards and checkpoints, written and read by the calls that the program itself uses, against
 * the raw rate of the run folder's device.
 *
 * Raw rate: one plain file per rank in blocks of 8 MiB, flushed to the device, without (O_DIRECT) and with the page
 * cache, and reading from a cold cache; the better of the two counts. Shards and checkpoints are measured with both
 * drivers (io.driver), whatever the input says. Raw and own work alternate, because the speed of shared devices drifts;
 * the ratio is that of the best of each. On a file system in memory (/dev/shm) this measures the program's own limit.
 */
#define _GNU_SOURCE /* O_DIRECT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "syzygy/data.h"
#include "syzygy/simulator.h"

enum {
  BLOCK = 8 << 20,
  PAGE = 4096,
  IMAGE = SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE,
  OBJECTS = 64, /* simulated objects per block, repeated for the whole shard: larger than the window in which deflate
                   finds repeats */
  STATE_ARRAYS = 3, /* weights and two moments */
  STATE_ROW = 16,   /* floats per row, as in src/train/checkpoint.c */
  PACKED_PART = 4   /* compressed files are smaller by this factor: deflate is slow */
};

typedef enum work {
  RAW_WRITE_DIRECT,
  RAW_WRITE_CACHED,
  RAW_READ_DIRECT,
  RAW_READ_CACHED,
  SHARD_WRITE,
  SHARD_READ,
  SHARD_READ_SHUFFLED,
  STATE_WRITE,
  STATE_READ,
  SHARD_WRITE_MPIO,
  STATE_WRITE_MPIO,
  STATE_READ_MPIO,
  SHARD_PACK,
  SHARD_UNPACK,
  STATE_PACK,
  STATE_UNPACK,
  WORKS
} work;
static const char *const work_name[WORKS] = {
    "raw write, direct",     "raw write, cached",    "raw read, direct",          "raw read, cached",
    "shards write",          "shards read",          "shards read, shuffled",     "checkpoint write",
    "checkpoint read",       "shards write, mpio",   "checkpoint write, mpio",    "checkpoint read, mpio",
    "shards write, deflate", "shards read, deflate", "checkpoint write, deflate", "checkpoint read, deflate"};

typedef struct io {
  syz_bench *b;
  syz_comm *c;
  int rank, size;
  char raw[PATH_MAX], shard[PATH_MAX], state[PATH_MAX]; /* raw and shard: this rank's */
  char (*shards)[PATH_MAX];                             /* [size] */
  const char **shard_path;                              /* [size] */
  int64_t objects;                                      /* of a shard */
  int64_t rows;                                         /* of one array of the checkpoint, this rank's */
  size_t bytes;                                         /* of a raw file */
  unsigned char *memory, *x;                            /* x: in memory, on a page's border; [bytes + BLOCK] */
  syz_object object[OBJECTS];
  float *image, *flux, *ivar; /* [OBJECTS, ...] */
  double rate[WORKS];         /* bytes/s of all ranks, best */
  double stored[WORKS];       /* bytes in the file for one of the rows */
} io;

/* -------------------------------------------------------------------- raw */

static void drop_cache(const char *path)
{
  const int fd = open(path, O_RDONLY);
  if (fd < 0) return;
  (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* of clean pages; in memory it does nothing */
  close(fd);
}

/* *is_possible = false where the file system does not support direct access. */
static syz_status raw_file(io *o, bool is_write, bool is_direct, bool *is_possible)
{
  syz_status st = SYZ_OK;
  const int fd =
      open(o->raw, (is_write ? O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW : O_RDONLY) | (is_direct ? O_DIRECT : 0), 0666);
  *is_possible = !(fd < 0 && is_direct && errno == EINVAL);
  if (!*is_possible) return st;
  SYZ_REQUIRE(fd >= 0, SYZ_ERR_WRITE, "%s: %s", o->raw, strerror(errno));
  for (size_t at = 0; at < o->bytes; at += BLOCK) {
    const ssize_t n = is_write ? pwrite(fd, o->x + at, BLOCK, (off_t)at) : pread(fd, o->x + at, BLOCK, (off_t)at);
    if (n < 0 && is_direct && errno == EINVAL) *is_possible = false; /* some file systems refuse O_DIRECT only here */
    if (!*is_possible) goto cleanup;
    SYZ_REQUIRE(n == BLOCK, SYZ_ERR_WRITE, "%s: cannot %s: %s", o->raw, is_write ? "write" : "read",
                n < 0 ? strerror(errno) : "a part of a block");
  }
  SYZ_REQUIRE(!is_write || fsync(fd) == 0, SYZ_ERR_WRITE, "%s: cannot flush: %s", o->raw, strerror(errno));
cleanup:
  if (fd >= 0) close(fd);
  return st;
}

/* ------------------------------------------------------------------ shards */

static syz_status write_shard(io *o, int64_t objects)
{
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  SYZ_TRY(syz_shard_writer_create(o->shard, objects, 0, NULL, NULL, false, o->b->run->created_by, "", &w));
  for (int64_t at = 0; at < objects; at += OBJECTS) {
    const int64_t n = objects - at < OBJECTS ? objects - at : OBJECTS;
    SYZ_TRY(syz_shard_writer_put(w, at, n, o->object, o->image, o->flux, o->ivar, NULL, NULL));
  }
  SYZ_TRY(syz_shard_writer_publish(&w));
cleanup:
  syz_shard_writer_discard(&w);
  return st;
}

/* Read this rank's share, in file order as embed does, or shuffled as training does. */
static syz_status read_objects(io *o, syz_shardset *set, bool shuffles)
{
  syz_status st = SYZ_OK;
  const int64_t all = syz_shardset_size(set);
  const syz_random r = syz_random_make(o->b->options->seed, SYZ_RANDOM_BENCH, 12, 0);
  int64_t first, count, index[OBJECTS];
  float *image = (float *)(void *)o->x, *flux = image + (int64_t)OBJECTS * IMAGE,
        *ivar = flux + (int64_t)OBJECTS * SYZ_SPECTRUM_PIXELS;
  syz_share(all, o->size, o->rank, &first, &count);
  for (int64_t at = 0; at < count; at += OBJECTS) {
    const int64_t n = count - at < OBJECTS ? count - at : OBJECTS;
    for (int64_t i = 0; i < n; i++)
      index[i] = shuffles ? (int64_t)syz_random_permute(&r, (uint64_t)all, (uint64_t)(first + at + i)) : first + at + i;
    SYZ_TRY(syz_shardset_read(set, n, index, image, flux, ivar));
  }
cleanup:
  return st;
}

static syz_status read_shards(io *o, bool shuffles, double *t)
{
  syz_status st = SYZ_OK;
  syz_shardset *set = NULL;
  SYZ_TRY(syz_shardset_open(o->c, o->size, o->shard_path, SYZ_SPLIT_ALL, false, &set));
  drop_cache(o->shard);
  syz_barrier(o->c);
  const double start = syz_clock_s();
  SYZ_TRY_ALL(o->c, read_objects(o, set, shuffles));
  *t = syz_clock_s() - start;
cleanup:
  syz_shardset_close(&set);
  return st;
}

/* -------------------------------------------------------------- checkpoints */

/* Write this rank's rows of a checkpoint's arrays, from memory in which no two rows are equal. */
static syz_status write_state(io *o, int64_t rows)
{
  static const char *const name[STATE_ARRAYS] = {"weight/all", "moment1/all", "moment2/all"};
  syz_status st = SYZ_OK;
  syz_h5 *file = NULL;
  const int64_t shape[1] = {STATE_ROW};
  SYZ_TRY(syz_h5_create(o->c, o->state, "bench", o->b->run->created_by, "", &file));
  for (int a = 0; a < STATE_ARRAYS; a++)
    SYZ_TRY(syz_h5_dataset(file, name[a], SYZ_H5_F32, rows * o->size, 1, shape, "1", "as in a checkpoint"));
  for (int a = 0; a < STATE_ARRAYS; a++)
    SYZ_TRY(syz_h5_write_rows(file, name[a], rows * o->rank, rows,
                              o->x + (size_t)a * (size_t)rows * STATE_ROW * sizeof(float)));
  SYZ_TRY(syz_h5_publish(&file));
cleanup:
  syz_h5_close(&file);
  return st;
}

static syz_status read_state(io *o, int64_t rows, double *t)
{
  static const char *const name[STATE_ARRAYS] = {"weight/all", "moment1/all", "moment2/all"};
  syz_status st = SYZ_OK;
  syz_h5 *file = NULL;
  drop_cache(o->state);
  syz_barrier(o->c);
  const double start = syz_clock_s();
  SYZ_TRY(syz_h5_open(o->c, o->state, &file));
  for (int a = 0; a < STATE_ARRAYS; a++)
    SYZ_TRY(syz_h5_read_all(file, name[a], SYZ_H5_F32, rows * o->rank, rows,
                            o->x + (size_t)a * (size_t)rows * STATE_ROW * sizeof(float)));
  *t = syz_clock_s() - start;
cleanup:
  syz_h5_close(&file);
  return st;
}

/* -------------------------------------------------------------------- turns */

static double shard_bytes(int64_t objects)
{
  return (double)objects * (IMAGE + 2 * SYZ_SPECTRUM_PIXELS) * sizeof(float);
}
static double state_bytes(int64_t rows) { return (double)rows * STATE_ARRAYS * STATE_ROW * sizeof(float); }

static double bytes_of(const io *o, work w)
{
  switch (w) {
  case SHARD_WRITE:
  case SHARD_WRITE_MPIO:
  case SHARD_READ:
  case SHARD_READ_SHUFFLED:
    return shard_bytes(o->objects);
  case SHARD_PACK:
  case SHARD_UNPACK:
    return shard_bytes(o->objects / PACKED_PART);
  case STATE_WRITE:
  case STATE_WRITE_MPIO:
  case STATE_READ:
  case STATE_READ_MPIO:
    return state_bytes(o->rows);
  case STATE_PACK:
  case STATE_UNPACK:
    return state_bytes(o->rows / PACKED_PART);
  default:
    return (double)o->bytes;
  }
}

static syz_status do_work(io *o, work w, double *t, bool *is_possible)
{
  const double start = syz_clock_s();
  *is_possible = true;
  syz_status st = SYZ_OK;
  *t = 0;
  switch (w) {
  case RAW_WRITE_DIRECT:
  case RAW_WRITE_CACHED:
    st = syz_agree(o->c, raw_file(o, true, w == RAW_WRITE_DIRECT, is_possible));
    break;
  case RAW_READ_DIRECT:
  case RAW_READ_CACHED:
    st = syz_agree(o->c, raw_file(o, false, w == RAW_READ_DIRECT, is_possible));
    break;
  case SHARD_WRITE:
  case SHARD_WRITE_MPIO:
    st = syz_agree(o->c, write_shard(o, o->objects));
    break;
  case SHARD_PACK:
    st = syz_agree(o->c, write_shard(o, o->objects / PACKED_PART));
    break;
  case SHARD_READ:
  case SHARD_UNPACK:
  case SHARD_READ_SHUFFLED:
    st = read_shards(o, w == SHARD_READ_SHUFFLED, t);
    break;
  case STATE_WRITE:
  case STATE_WRITE_MPIO:
    st = write_state(o, o->rows);
    break;
  case STATE_PACK:
    st = write_state(o, o->rows / PACKED_PART);
    break;
  case STATE_READ:
  case STATE_READ_MPIO:
    st = read_state(o, o->rows, t);
    break;
  case STATE_UNPACK:
    st = read_state(o, o->rows / PACKED_PART, t);
    break;
  case WORKS:
    break;
  }
  if (*t == 0) *t = syz_clock_s() - start;
  return st;
}

static syz_status measure(io *o, work w)
{
  syz_status st = SYZ_OK;
  double t, impossible;
  bool is_possible;
  struct stat about = {0};
  if (w == RAW_READ_CACHED) drop_cache(o->raw);
  syz_barrier(o->c);
  SYZ_TRY(do_work(o, w, &t, &is_possible));
  impossible = !is_possible;
  syz_allreduce_f64(o->c, &t, 1, SYZ_MAX);
  syz_allreduce_f64(o->c, &impossible, 1, SYZ_MAX);
  const double rate = impossible > 0 ? 0 : bytes_of(o, w) * o->size / t;
  if (rate > o->rate[w]) o->rate[w] = rate;
  const bool is_state = w == STATE_WRITE || w == STATE_WRITE_MPIO || w == STATE_PACK;
  if (w == SHARD_WRITE || w == SHARD_WRITE_MPIO || w == SHARD_PACK) stat(o->shard, &about);
  if (is_state) stat(o->state, &about);
  const double among = is_state ? o->size : 1;
  if (about.st_size) o->stored[w] = (double)about.st_size / among / bytes_of(o, w);
cleanup:
  return st;
}

/* Noise in the memory that raw files and checkpoints are written from. */
static void fill(io *o)
{
  const syz_random r = syz_random_make(o->b->options->seed, SYZ_RANDOM_BENCH, 13, (uint64_t)o->rank);
  const size_t n = (size_t)BLOCK / sizeof(float);
  float *x = (float *)(void *)o->x;
  syz_random_fill_normal(&r, x, n);
  for (size_t at = n; at < o->bytes / sizeof(float); at++) x[at] = x[at - n] * 1.0009765f;
}

static syz_status turns(io *o)
{
  syz_status st = SYZ_OK;
  static const work order[] = {RAW_WRITE_DIRECT,    SHARD_WRITE,     SHARD_WRITE_MPIO, RAW_WRITE_CACHED,
                               STATE_WRITE,         RAW_READ_DIRECT, SHARD_READ,       RAW_READ_CACHED,
                               SHARD_READ_SHUFFLED, STATE_READ,      STATE_WRITE_MPIO, STATE_READ_MPIO};
  static const work packed_order[] = {SHARD_PACK, SHARD_UNPACK, STATE_PACK, STATE_UNPACK};
  syz_h5_settings settings = o->b->options->io;
  settings.compression_level = 0; /* compression has rows of its own in the table */
  syz_h5_configure(&settings);
  for (int k = 0; k < o->b->repeats; k++) {
    fill(o); /* reading objects has overwritten some of it */
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
      settings.driver = order[i] == SHARD_WRITE_MPIO || order[i] == STATE_WRITE_MPIO || order[i] == STATE_READ_MPIO
                            ? SYZ_H5_MPIO
                            : SYZ_H5_DIRECT;
      syz_h5_configure(&settings);
      SYZ_TRY(measure(o, order[i]));
    }
  }
  fill(o);
  settings.compression_level = o->b->options->compression_level;
  syz_h5_configure(&settings);
  for (size_t i = 0; i < sizeof packed_order / sizeof *packed_order; i++) {
    if (packed_order[i] == STATE_PACK) fill(o);
    SYZ_TRY(measure(o, packed_order[i]));
  }
cleanup:
  syz_h5_configure(&o->b->options->io);
  return st;
}

/* ------------------------------------------------------------------ results */

static void tell(const io *o, work w)
{
  const bool is_write = w == SHARD_WRITE || w == STATE_WRITE || w == SHARD_WRITE_MPIO || w == STATE_WRITE_MPIO ||
                        w == SHARD_PACK || w == STATE_PACK;
  const work direct = is_write ? RAW_WRITE_DIRECT : RAW_READ_DIRECT,
             cached = is_write ? RAW_WRITE_CACHED : RAW_READ_CACHED;
  const work better = o->rate[direct] > o->rate[cached] ? direct : cached;
  char more[80] = "";
  if (w >= SHARD_PACK && is_write) snprintf(more, sizeof more, ", %.1f%% of the size", 100 * o->stored[w]);
  syz_info("%-12s %-26s %9.3f GB/s, %5.1f%% of %s (%.3f GB/s)%s", "io", work_name[w], o->rate[w] / 1e9,
           100 * o->rate[w] / o->rate[better], work_name[better], o->rate[better] / 1e9, more);
  if (o->rank != 0) return;
  cJSON *row = syz_bench_add_row(o->b, "io", work_name[w]);
  cJSON_AddNumberToObject(row, "gbytes_per_s", o->rate[w] / 1e9);
  cJSON_AddNumberToObject(row, "raw_gbytes_per_s", o->rate[better] / 1e9);
  cJSON_AddNumberToObject(row, "fraction_of_raw", o->rate[w] / o->rate[better]);
  cJSON_AddStringToObject(row, "raw", work_name[better]);
  if (is_write) cJSON_AddNumberToObject(row, "stored_fraction", o->stored[w]);
}

static syz_status begin(io *o)
{
  syz_status st = SYZ_OK;
  syz_simulator *simulator = NULL;
  const syz_sim_config config = syz_sim_config_default();
  const char *folder = o->b->run->folder;
  const int64_t wanted = o->b->options->io_bytes;
  o->bytes = (size_t)((wanted + BLOCK - 1) / BLOCK) * BLOCK;
  o->objects = (int64_t)((double)o->bytes / shard_bytes(1)) + PACKED_PART;
  o->rows = (int64_t)((double)o->bytes / state_bytes(1));
  const size_t block = (size_t)shard_bytes(OBJECTS);
  SYZ_ALLOC(o->memory, "bench io", (o->bytes > block ? o->bytes : block) + BLOCK + PAGE);
  o->x = o->memory + (PAGE - (uintptr_t)o->memory % PAGE) % PAGE;
  SYZ_ALLOC(o->image, "bench io images", (size_t)OBJECTS * IMAGE);
  SYZ_ALLOC(o->flux, "bench io spectra", (size_t)OBJECTS * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(o->ivar, "bench io spectra", (size_t)OBJECTS * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(o->shards, "bench io paths", o->size);
  SYZ_ALLOC(o->shard_path, "bench io paths", o->size);
  snprintf(o->raw, sizeof o->raw, "%s/bench-raw-%d.tmp", folder, o->rank);
  snprintf(o->state, sizeof o->state, "%s/bench-state.h5", folder);
  for (int r = 0; r < o->size; r++) {
    snprintf(o->shards[r], sizeof o->shards[r], "%s/bench-shard-%d.h5", folder, r);
    o->shard_path[r] = o->shards[r];
  }
  memcpy(o->shard, o->shards[o->rank], sizeof o->shard);
  SYZ_TRY(syz_simulator_create(&config, NULL, &simulator));
  for (int i = 0; i < OBJECTS; i++) {
    syz_sim_object s = {.image = o->image + (size_t)i * IMAGE,
                        .spectrum = o->flux + (size_t)i * SYZ_SPECTRUM_PIXELS,
                        .ivar = o->ivar + (size_t)i * SYZ_SPECTRUM_PIXELS};
    syz_simulator_make(simulator, i, &s);
    o->object[i] = (syz_object){.object_id = s.object_id, .ra = s.ra, .dec = s.dec, .has_image = 1, .has_spectrum = 1};
  }
  for (size_t at = 0; at < o->bytes; at += PAGE) o->x[at] = 1; /* touch every page before the timing starts */
cleanup:
  syz_simulator_destroy(&simulator);
  return st;
}

syz_status syz_bench_io(syz_bench *b)
{
  syz_status st = SYZ_OK;
  io *o = syz_alloc("bench io", 1, sizeof *o);
  SYZ_TRY_ALL(b->run->world, o ? SYZ_OK : SYZ_ERR_MEMORY);
  o->b = b;
  o->c = b->run->world;
  o->rank = syz_comm_rank(o->c);
  o->size = syz_comm_size(o->c);
  SYZ_TRY_ALL(o->c, begin(o));
  SYZ_TRY(turns(o));
  for (int w = SHARD_WRITE; w < WORKS; w++) tell(o, (work)w);
cleanup:
  if (o) {
    if (*o->raw) unlink(o->raw);
    if (*o->shard) unlink(o->shard);
    if (*o->state && o->rank == 0) unlink(o->state);
    syz_free(&o->memory);
    syz_free(&o->image);
    syz_free(&o->flux);
    syz_free(&o->ivar);
    syz_free(&o->shards);
    syz_free(&o->shard_path);
  }
  syz_free(&o);
  return st;
}
