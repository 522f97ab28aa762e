/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Pixels of single objects. Rows of contiguous float32 datasets (own shards, AstroCLIP's file) are read with pread at
 * their offset in the file, on any thread; chunked, compressed or other data are read through HDF5 on the main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "set_layout.h"

/* ------------------------------------------------------------ pixel checks */

const char *syz_pixel_fault_text(pixel_fault fault)
{
  switch (fault) {
  case PIXELS_GOOD:
    return "good";
  case IMAGE_NOT_FINITE:
    return "the image has NaN or infinite pixels";
  case IMAGE_ABSURD:
    return "the image has pixels beyond 1e12 nanomaggy";
  case IMAGE_ZERO:
    return "the image is all zero";
  case FLUX_NOT_FINITE:
    return "the spectrum has NaN or infinite pixels";
  case FLUX_ABSURD:
    return "the spectrum has pixels beyond 1e12 (1e-17 erg/s/cm2/Angstrom)";
  case FLUX_ZERO:
    return "the spectrum is all zero";
  case IVAR_NOT_FINITE:
    return "the inverse variance has NaN or infinite pixels";
  case IVAR_ABSURD:
    return "the inverse variance has pixels beyond 1e12";
  case IVAR_NEGATIVE:
    return "the inverse variance has negative pixels";
  case IVAR_ZERO:
    return "the inverse variance is all zero: every pixel is masked";
  case PIXEL_FAULTS:
    break;
  }
  return "?";
}

/** Which kinds of values an array has. */
typedef struct value_look {
  bool is_finite, is_sane, is_zero, is_negative;
} value_look;

/* Compares bit patterns, so that the loop vectorises: an exponent of all ones is NaN or infinity, and without the sign
 * larger values have larger bit patterns. */
static value_look look(const float *x, int64_t n)
{
  const union {
    float f;
    uint32_t u;
  } most = {SYZ_VALUE_MAX};
  uint32_t bad = 0, absurd = 0, any = 0, negative = 0;
  for (int64_t i = 0; i < n; i++) {
    union {
      float f;
      uint32_t u;
    } v = {x[i]};
    bad |= (uint32_t)((v.u & 0x7f800000u) == 0x7f800000u);
    absurd |= (uint32_t)((v.u & 0x7fffffffu) > most.u);
    any |= v.u & 0x7fffffffu;
    negative |= (uint32_t)(v.u > 0x80000000u);
  }
  return (value_look){!bad, !absurd, !any, negative != 0};
}

pixel_fault syz_check_image(const float *image)
{
  value_look v = look(image, SET_IMAGE);
  return !v.is_finite ? IMAGE_NOT_FINITE : !v.is_sane ? IMAGE_ABSURD : v.is_zero ? IMAGE_ZERO : PIXELS_GOOD;
}

pixel_fault syz_check_flux(const float *flux)
{
  value_look v = look(flux, SYZ_SPECTRUM_PIXELS);
  return !v.is_finite ? FLUX_NOT_FINITE : !v.is_sane ? FLUX_ABSURD : v.is_zero ? FLUX_ZERO : PIXELS_GOOD;
}

pixel_fault syz_check_ivar(const float *ivar)
{
  value_look v = look(ivar, SYZ_SPECTRUM_PIXELS);
  return !v.is_finite    ? IVAR_NOT_FINITE
         : !v.is_sane    ? IVAR_ABSURD
         : v.is_negative ? IVAR_NEGATIVE
         : v.is_zero     ? IVAR_ZERO
                         : PIXELS_GOOD;
}

/* ------------------------------------------------------------ where it is */

static bool is_at_or_before(const void *part, const void *raw)
{
  return ((const set_part *)part)->raw <= *(const int64_t *)raw;
}

const set_part *set_part_at(const syz_shardset *s, int64_t raw)
{
  /* The last part that begins at or before raw, as the first one always does; empty parts share their beginning with
   * the next. */
  return &s->part[syz_lower_bound(&raw, s->part + 1, s->parts - 1, sizeof *s->part, is_at_or_before)];
}

const set_part *syz_shardset_find(const syz_shardset *s, int64_t index, int64_t *row)
{
  const int64_t raw = set_kept_row(&s->kept, index);
  const set_part *p = set_part_at(s, raw);
  *row = raw - p->raw;
  return p;
}

void syz_shardset_describe(const syz_shardset *s, int64_t index, char *text, size_t room)
{
  int64_t row;
  const set_part *p = syz_shardset_find(s, index, &row);
  snprintf(text, room, "%s: object %lld (%s%srow %lld)", s->file[p->file].path, (long long)s->object[index].object_id,
           p->group, *p->group ? " " : "", (long long)row);
}

/* ----------------------------------------------------------------- reading */

void syz_set_reader_begin(set_reader *r)
{
  r->kept = (syz_kept_open){0};
  r->lane = NULL;
  r->lane_file = -1;
  for (int i = 0; i < SYZ_KEPT_OPEN_MOST; i++) r->fd[i] = -1;
}

void syz_set_reader_end(set_reader *r)
{
  for (int i = 0; i < SYZ_KEPT_OPEN_MOST; i++)
    if (r->fd[i] >= 0) close(r->fd[i]);
  syz_free(&r->scratch);
  syz_direct_close(&r->lane);
  syz_set_reader_begin(r);
}

static syz_status descriptor(const syz_shardset *s, set_reader *r, int file, int *fd)
{
  syz_status st = SYZ_OK;
  int k;
  if (!syz_kept_open_find(&r->kept, SYZ_KEPT_OPEN_MOST, file, &k)) {
    if (r->fd[k] >= 0) close(r->fd[k]);
    r->fd[k] = open(s->file[file].path, O_RDONLY);
    SYZ_REQUIRE(r->fd[k] >= 0, SYZ_ERR_DATA, "%s: cannot open: %s", s->file[file].path, strerror(errno));
    syz_kept_open_put(&r->kept, k, file);
  }
  *fd = r->fd[k];
cleanup:
  return st;
}

static syz_status read_at(const syz_shardset *s, int file, int fd, int64_t at, size_t bytes, void *to)
{
  syz_status st = SYZ_OK;
  char *p = to;
  while (bytes) {
    ssize_t got = pread(fd, p, bytes, (off_t)at);
    if (got < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(got > 0, SYZ_ERR_DATA, "%s: cannot read at byte %lld: %s", s->file[file].path, (long long)at,
                got < 0 ? strerror(errno) : "the file ends there");
    p += got;
    at += got;
    bytes -= (size_t)got;
  }
cleanup:
  return st;
}

/* Fill what the file lacks: absent modalities with zeros, unknown ivar with 1. Sets the pointers of filled arrays to
 * NULL.
 */
static void fill_absent(const syz_shardset *s, int64_t index, const set_part *p, float **image, float **flux,
                        float **ivar)
{
  const syz_object *o = &s->object[index];
  if (*image && !o->has_image) {
    memset(*image, 0, SET_IMAGE * sizeof(float));
    *image = NULL;
  }
  if (*flux && !o->has_spectrum) {
    memset(*flux, 0, SYZ_SPECTRUM_PIXELS * sizeof(float));
    *flux = NULL;
  }
  if (*ivar && (!o->has_spectrum || !p->has_ivar)) {
    float value = o->has_spectrum ? 1.0f : 0.0f;
    for (int i = 0; i < SYZ_SPECTRUM_PIXELS; i++) (*ivar)[i] = value;
    *ivar = NULL;
  }
}

static syz_status check_pixels(const syz_shardset *s, int64_t index, const float *image, const float *flux,
                               const float *ivar)
{
  syz_status st = SYZ_OK;
  pixel_fault fault = PIXELS_GOOD;
  if (image) fault = syz_check_image(image);
  if (!fault && flux) fault = syz_check_flux(flux);
  if (!fault && ivar) fault = syz_check_ivar(ivar);
  if (fault) {
    char where[600];
    syz_shardset_describe(s, index, where, sizeof where);
    SYZ_REQUIRE(false, SYZ_ERR_DATA, "%s: %s; leave such objects out with data.bad_objects: skip", where,
                syz_pixel_fault_text(fault));
  }
cleanup:
  return st;
}

/* A bad ivar makes the flux bad, so ivar is checked even when it is not requested: refusing and skipping then agree. */
static bool needs_ivar(const syz_shardset *s, int64_t index, const set_part *p, const float *flux, const float *ivar)
{
  return flux && !ivar && p->has_ivar && s->object[index].has_spectrum;
}

bool syz_shardset_is_direct(const syz_shardset *s, int64_t index, bool image, bool flux, bool ivar)
{
  int64_t row;
  const set_part *p = syz_shardset_find(s, index, &row);
  const syz_object *o = &s->object[index];
  if (image && o->has_image && p->image_at < 0) return false;
  if (flux && o->has_spectrum && p->flux_at < 0) return false;
  return !((flux || ivar) && o->has_spectrum && p->has_ivar && p->ivar_at < 0);
}

syz_status syz_shardset_read_direct(const syz_shardset *s, set_reader *r, int64_t index, float *image, float *flux,
                                    float *ivar)
{
  syz_status st = SYZ_OK;
  int64_t row;
  int fd = -1;
  float unwanted[SYZ_SPECTRUM_PIXELS];
  const set_part *p = syz_shardset_find(s, index, &row);
  if (needs_ivar(s, index, p, flux, ivar)) ivar = unwanted;
  fill_absent(s, index, p, &image, &flux, &ivar);
  if (!image && !flux && !ivar) return SYZ_OK;
  SYZ_TRY(descriptor(s, r, p->file, &fd));
  if (image) {
    float *to = image;
    const set_layout *l = set_layout_of(p);
    if (l->reorder) {
      if (!r->scratch) SYZ_ALLOC(r->scratch, "image of another axis order", SET_IMAGE);
      to = r->scratch;
    }
    SYZ_TRY(read_at(s, p->file, fd, p->image_at + row * (int64_t)(SET_IMAGE * sizeof(float)), SET_IMAGE * sizeof(float),
                    to));
    if (l->reorder) l->reorder(to, image);
  }
  const int64_t bytes = SYZ_SPECTRUM_PIXELS * sizeof(float);
  if (flux) SYZ_TRY(read_at(s, p->file, fd, p->flux_at + row * bytes, (size_t)bytes, flux));
  if (ivar) SYZ_TRY(read_at(s, p->file, fd, p->ivar_at + row * bytes, (size_t)bytes, ivar));
  SYZ_TRY(check_pixels(s, index, image, flux, ivar));
cleanup:
  return st;
}

syz_status syz_shardset_h5(syz_shardset *s, int file, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  int k;
  if (!syz_kept_open_find(&s->kept_h5, SYZ_KEPT_OPEN_MOST, file, &k)) {
    syz_h5_close(&s->h5[k]);
    SYZ_TRY(syz_h5_open(NULL, s->file[file].path, &s->h5[k]));
    syz_kept_open_put(&s->kept_h5, k, file);
  }
  *out = s->h5[k];
cleanup:
  return st;
}

syz_status syz_shardset_read_one(syz_shardset *s, int64_t index, float *image, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  int64_t row;
  syz_h5 *f = NULL;
  float unwanted[SYZ_SPECTRUM_PIXELS];
  if (syz_shardset_is_direct(s, index, image, flux, ivar))
    return syz_shardset_read_direct(s, &s->reader, index, image, flux, ivar);
  const set_part *p = syz_shardset_find(s, index, &row);
  if (needs_ivar(s, index, p, flux, ivar)) ivar = unwanted;
  fill_absent(s, index, p, &image, &flux, &ivar);
  SYZ_TRY(syz_shardset_h5(s, p->file, &f));
  if (image) SYZ_TRY(set_read_images(f, p, row, 1, &s->reader.scratch, image));
  if (flux) SYZ_TRY(set_read_flux(f, p, row, 1, flux));
  if (ivar) SYZ_TRY(set_read_ivar(f, p, row, 1, ivar));
  SYZ_TRY(check_pixels(s, index, image, flux, ivar));
cleanup:
  return st;
}

/* How many of the next objects are consecutive in a file and have all requested arrays. */
static int64_t run_length(const syz_shardset *s, int64_t n, const int64_t *index, bool image, bool flux, bool ivar)
{
  int64_t row, next, run = 0;
  const set_part *p = syz_shardset_find(s, index[0], &row);
  if (set_layout_of(p)->reorder || (ivar && !p->has_ivar) || !syz_shardset_is_direct(s, index[0], image, flux, ivar))
    return 0;
  for (; run < n && index[run] >= 0 && index[run] < s->size; run++) {
    const syz_object *o = &s->object[index[run]];
    if ((image && !o->has_image) || ((flux || ivar) && !o->has_spectrum) ||
        syz_shardset_find(s, index[run], &next) != p || next != row + run)
      break;
  }
  return run;
}

/* Many bytes at once, bypassing the page cache unless it holds them. */
static syz_status read_span(const syz_shardset *s, set_reader *r, int file, int64_t at, size_t bytes, void *to)
{
  syz_status st = SYZ_OK;
  int fd = -1;
  if (bytes >= SYZ_DIRECT_WORTH && syz_direct_is_wanted() && r->lane_file != file) {
    syz_direct_close(&r->lane);
    r->lane = syz_direct_open(s->file[file].path, false);
    r->lane_file = file;
  }
  const bool is_lane = bytes >= SYZ_DIRECT_WORTH && r->lane && r->lane_file == file;
  if (is_lane && !syz_direct_is_cached(r->lane, at + (int64_t)bytes / 2))
    return syz_direct_read(r->lane, at, bytes, to);
  SYZ_TRY(descriptor(s, r, file, &fd));
  SYZ_TRY(read_at(s, file, fd, at, bytes, to));
cleanup:
  return st;
}

static syz_status read_run(syz_shardset *s, const int64_t *index, int64_t n, float *image, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  int64_t row;
  int fd = -1;
  float unwanted[SYZ_SPECTRUM_PIXELS];
  const set_part *p = syz_shardset_find(s, index[0], &row);
  const bool is_unwanted = needs_ivar(s, index[0], p, flux, ivar);
  const int64_t image_bytes = SET_IMAGE * sizeof(float), bytes = SYZ_SPECTRUM_PIXELS * sizeof(float);
  if (image)
    SYZ_TRY(read_span(s, &s->reader, p->file, p->image_at + row * image_bytes, (size_t)(n * image_bytes), image));
  if (flux) SYZ_TRY(read_span(s, &s->reader, p->file, p->flux_at + row * bytes, (size_t)(n * bytes), flux));
  if (ivar) SYZ_TRY(read_span(s, &s->reader, p->file, p->ivar_at + row * bytes, (size_t)(n * bytes), ivar));
  for (int64_t i = 0; i < n; i++) {
    SYZ_REQUIRE(i == 0 || !syz_fault("shard_read"), SYZ_ERR_DATA, "%s: injected failure",
                s->file[0].path); /* one visit per object */
    if (is_unwanted) {
      SYZ_TRY(descriptor(s, &s->reader, p->file, &fd));
      SYZ_TRY(read_at(s, p->file, fd, p->ivar_at + (row + i) * bytes, (size_t)bytes, unwanted));
    }
    SYZ_TRY(check_pixels(s, index[i], image ? image + i * SET_IMAGE : NULL,
                         flux ? flux + i * SYZ_SPECTRUM_PIXELS : NULL,
                         is_unwanted ? unwanted
                         : ivar      ? ivar + i * SYZ_SPECTRUM_PIXELS
                                     : NULL));
  }
cleanup:
  return st;
}

syz_status syz_shardset_read(syz_shardset *s, int64_t n, const int64_t *index, float *image, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0, run; i<n; i += run> 1 ? run : 1) {
    SYZ_REQUIRE(index[i] >= 0 && index[i] < s->size, SYZ_ERR_INTERNAL, "object number %lld of a data set of %lld",
                (long long)index[i], (long long)s->size);
    SYZ_REQUIRE(!syz_fault("shard_read"), SYZ_ERR_DATA, "%s: injected failure", s->file[0].path);
    run = run_length(s, n - i, index + i, image, flux, ivar);
    if (run > 1)
      SYZ_TRY(read_run(s, index + i, run, image ? image + i * SET_IMAGE : NULL,
                       flux ? flux + i * SYZ_SPECTRUM_PIXELS : NULL, ivar ? ivar + i * SYZ_SPECTRUM_PIXELS : NULL));
    else
      SYZ_TRY(syz_shardset_read_one(s, index[i], image ? image + i * SET_IMAGE : NULL,
                                    flux ? flux + i * SYZ_SPECTRUM_PIXELS : NULL,
                                    ivar ? ivar + i * SYZ_SPECTRUM_PIXELS : NULL));
  }
cleanup:
  return st;
}

syz_status syz_shardset_read_segment(syz_shardset *s, int64_t n, const int64_t *index, uint8_t *segment)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < n; i++) {
    int64_t row;
    syz_h5 *f = NULL;
    SYZ_REQUIRE(index[i] >= 0 && index[i] < s->size, SYZ_ERR_INTERNAL, "object number %lld of a data set of %lld",
                (long long)index[i], (long long)s->size);
    const set_part *p = syz_shardset_find(s, index[i], &row);
    memset(segment + i * SET_PLANE, 0, SET_PLANE);
    if (!p->has_segment) continue;
    SYZ_TRY(syz_shardset_h5(s, p->file, &f));
    SYZ_TRY(set_read_segment(f, p, row, 1, segment + i * SET_PLANE));
  }
cleanup:
  return st;
}
