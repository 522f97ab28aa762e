/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Maps of patches: the principal components of the patch features of a batch of images. The first three, as red, green
 * and blue, show what a backbone tells apart: a map beside each image, as PNG files, and all numbers in patches.h5.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frozen.h"
#include "patches.h"
#include "syzygy/picture.h"

enum { COLOURS = 3 };

typedef struct syz_maps job;

struct syz_maps {
  const syz_run *run;
  const syz_maps_options *options;
  syz_comm *comm;
  const char *folder;
  syz_frozen net;
  syz_shardset *data;
  syz_patches *patches;
  syz_pca *pca;
  int64_t cells; /* patches per image */
  int64_t n;     /* objects on this rank */
  double low[COLOURS], high[COLOURS];
  float *map;      /* [n, cells, components] */
  uint8_t *colour; /* [n, cells, 3] */
};

/* --------------------------------------------------------------- colours */

static int ascending(const void *a, const void *b)
{
  const float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

/* The value below which `share` of the sorted values lie, between neighbours in a straight line (NumPy's default). */
static double percentile(const float *sorted, int64_t n, double share)
{
  const double at = share * (double)(n - 1);
  const int64_t i = (int64_t)at < n - 1 ? (int64_t)at : n - 1;
  return i + 1 < n ? (double)sorted[i] + (at - (double)i) * ((double)sorted[i + 1] - (double)sorted[i])
                   : (double)sorted[i];
}

/* Ends of the colour scales over all patches of the batch; rank 0 sorts. */
static syz_status find_scales(job *j)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(j->comm);
  const int64_t total = j->patches->objects * j->cells, mine = j->n * j->cells;
  const bool is_first = syz_comm_rank(j->comm) == 0;
  const double share = j->options->percentile / 100;
  float *own = syz_alloc("component", (size_t)mine + 1, sizeof *own),
        *all = is_first ? syz_alloc("component", (size_t)total, sizeof *all) : NULL;
  size_t *bytes = syz_alloc("shares", (size_t)size, sizeof *bytes);
  SYZ_TRY_ALL(j->comm, own && bytes && (all || !is_first) ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int r = 0; r < size; r++) {
    int64_t first, n;
    syz_share(j->patches->objects, size, r, &first, &n);
    bytes[r] = (size_t)(n * j->cells) * sizeof *own;
  }
  for (int c = 0; c < COLOURS; c++) {
    if (c >= j->pca->components) {
      j->low[c] = j->high[c] = 0;
      continue;
    }
    for (int64_t i = 0; i < mine; i++) own[i] = j->map[i * j->pca->components + c];
    syz_gatherv(j->comm, own, all, bytes, 0);
    if (!is_first) continue;
    qsort(all, (size_t)total, sizeof *all, ascending);
    j->low[c] = percentile(all, total, share);
    j->high[c] = percentile(all, total, 1 - share);
  }
  syz_bcast(j->comm, j->low, sizeof j->low, 0);
  syz_bcast(j->comm, j->high, sizeof j->high, 0);
cleanup:
  syz_free(&own);
  syz_free(&all);
  syz_free(&bytes);
  return st;
}

static void paint(job *j)
{
  const int64_t k = j->pca->components;
  for (int64_t i = 0; i < j->n * j->cells; i++)
    for (int c = 0; c < COLOURS; c++) {
      const double width = j->high[c] - j->low[c];
      const double v = width > 0 ? ((double)j->map[i * k + c] - j->low[c]) / width
                                 : 0.5; /* a component that is not there, or is the same everywhere */
      j->colour[i * COLOURS + c] = (uint8_t)lrint(255 * fmin(fmax(v, 0), 1));
    }
}

/* ----------------------------------------------------------------- files */

static syz_status make_maps(job *j)
{
  syz_status st = SYZ_OK;
  const int64_t k = j->pca->components, width = j->patches->width;
  float *row = NULL;
  SYZ_ALLOC(row, "patch features", j->cells * width);
  SYZ_ALLOC(j->map, "maps", j->n * j->cells * k + 1);
  SYZ_ALLOC(j->colour, "maps", j->n * j->cells * COLOURS + 1);
  for (int64_t i = 0; i < j->n; i++) {
    j->patches->rows.read(j->patches->rows.context, i * j->cells, j->cells, row);
    syz_pca_project(j->pca, j->cells, row, j->map + i * j->cells * k);
  }
cleanup:
  syz_free(&row);
  return st;
}

static int64_t rows_here(const job *j, int64_t rows) { return syz_comm_rank(j->comm) == 0 ? rows : 0; }

static syz_status write_numbers(job *j)
{
  syz_status st = SYZ_OK;
  const syz_patches *p = j->patches;
  const int64_t k = j->pca->components, map[3] = {p->side, p->side, k}, colour[3] = {p->side, p->side, COLOURS};
  char path[PATH_MAX], *data_path = syz_texts_lines(j->net.options->data.path);
  double *ratio = syz_alloc("variances", (size_t)k + 1, sizeof *ratio);
  int64_t *id = syz_alloc("objects", (size_t)p->n + 1, sizeof *id);
  syz_h5 *f = NULL;
  SYZ_TRY_ALL(j->comm, data_path && ratio && id ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < k; i++) ratio[i] = j->pca->variance[i] / j->pca->total_variance;
  for (int64_t i = 0; i < p->n; i++) id[i] = syz_shardset_objects(j->data)[p->number[p->first + i]].object_id;
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/patches.h5", j->folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  SYZ_TRY(syz_h5_create(j->comm, path, "patches", j->run->created_by, j->run->input_yaml, &f));
  SYZ_TRY(syz_h5_write_text(f, "model_file", j->net.options->model_file));
  SYZ_TRY(syz_h5_write_text(f, "model_digest", j->net.digest));
  SYZ_TRY(syz_h5_write_text(f, "data_path", data_path));
  SYZ_TRY(syz_h5_write(f, "mean", SYZ_H5_F64, p->width, 0, NULL, 0, rows_here(j, p->width), j->pca->mean, "1",
                       "mean of the patch features"));
  SYZ_TRY(syz_h5_write(f, "variance", SYZ_H5_F64, k, 0, NULL, 0, rows_here(j, k), j->pca->variance, "1",
                       "variance of each principal component"));
  SYZ_TRY(syz_h5_write(f, "variance_ratio", SYZ_H5_F64, k, 0, NULL, 0, rows_here(j, k), ratio, "1",
                       "its share of the total variance"));
  SYZ_TRY(syz_h5_write(f, "direction", SYZ_H5_F64, k, 1, &p->width, 0, rows_here(j, k), j->pca->direction, "1",
                       "principal directions, orthonormal, the component of largest size positive"));
  SYZ_TRY(
      syz_h5_write(f, "object_id", SYZ_H5_I64, p->objects, 0, NULL, p->first, p->n, id, "1", "objects of the batch"));
  SYZ_TRY(syz_h5_write(f, "projection", SYZ_H5_F32, p->objects, 3, map, p->first, p->n, j->map, "1",
                       "principal components of each patch; axes (y, x, component)"));
  SYZ_TRY(syz_h5_write(
      f, "colour", SYZ_H5_U8, p->objects, 3, colour, p->first, p->n, j->colour, "1",
      "the first three as red, green and blue, between robust percentiles of the batch; axes (y, x, colour)"));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  syz_free(&data_path);
  syz_free(&ratio);
  syz_free(&id);
  return st;
}

/* Image and map of one of this rank's objects. */
static syz_status write_picture(job *j, int64_t i)
{
  enum { SIDE = 288, GAP = 8 };
  syz_status st = SYZ_OK;
  const syz_patches *p = j->patches;
  const int64_t size = j->net.config.image.size, number = p->number[p->first + i];
  const int zoom = size <= SIDE ? (int)(SIDE / size) : 1, side = zoom * (int)size, cell = side / (int)p->side;
  char path[PATH_MAX];
  float *image = NULL, *planes = NULL;
  unsigned char *rgb = NULL;
  syz_picture picture = {.rgb = NULL};
  SYZ_ALLOC(image, "image", SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE);
  SYZ_ALLOC(planes, "image", SYZ_BANDS * size * size);
  SYZ_ALLOC(rgb, "image", SYZ_BANDS * size * size);
  SYZ_TRY(syz_picture_create(2 * side + GAP, side, 255, &picture));
  SYZ_TRY(syz_shardset_read(j->data, 1, &number, image, NULL, NULL));
  syz_prepare_images(image, 1, size, planes);
  syz_planes_to_rgb(planes, (int)size, rgb);
  syz_picture_paint(&picture, 0, 0, zoom, (int)size, rgb);
  for (int64_t y = 0; y < p->side; y++) /* row 0 of the sky's image is at the bottom */
    memcpy(rgb + (p->side - 1 - y) * p->side * COLOURS, j->colour + (i * p->side + y) * p->side * COLOURS,
           (size_t)p->side * COLOURS);
  syz_picture_paint(&picture, side + GAP, 0, cell, (int)p->side, rgb);
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/patches-%05lld-%lld.png", j->folder, (long long)(p->first + i),
                       (long long)syz_shardset_objects(j->data)[number].object_id) < (int)sizeof path,
              SYZ_ERR_WRITE, "output.dir: name too long");
  SYZ_TRY(syz_picture_write(&picture, path));
cleanup:
  syz_picture_free(&picture);
  syz_free(&image);
  syz_free(&planes);
  syz_free(&rgb);
  return st;
}

static syz_status write_pictures(job *j)
{
  syz_status st = SYZ_OK;
  const int64_t wanted = j->options->pictures;
  for (int64_t i = 0; i < j->n && j->patches->first + i < wanted; i++) SYZ_TRY(write_picture(j, i));
cleanup:
  return st;
}

/* ------------------------------------------------------------- all of it */

static void log_variance(const job *j)
{
  double sum = 0;
  for (int64_t k = 0; k < j->pca->components; k++) sum += j->pca->variance[k];
  syz_info("%lld patches of %lld images: %lld principal components hold %.1f %% of the variance",
           (long long)j->pca->rows, (long long)j->patches->objects, (long long)j->pca->components,
           100 * sum / j->pca->total_variance);
  for (int64_t k = 0; k < j->pca->components && k < 5; k++)
    syz_info("  component %lld: %.2f %%", (long long)k + 1, 100 * j->pca->variance[k] / j->pca->total_variance);
}

syz_status syz_maps_write(syz_maps *j)
{
  syz_status st = SYZ_OK;
  syz_timing *timing = j->run->timing;
  const syz_pca_options options = {.components = j->options->components, .scalapack_from = j->options->scalapack_from};
  syz_timing_begin(timing, "features");
  st = syz_patches_create(j->comm, j->net.compute, j->net.model, j->data, j->options->objects, j->net.options->batch,
                          "features", &j->patches);
  syz_timing_end(timing);
  SYZ_TRY(st);
  j->cells = j->patches->side * j->patches->side;
  j->n = j->patches->n;
  syz_timing_begin(timing, "components");
  st = syz_pca_fit(j->comm, &j->patches->rows, &options, &j->pca);
  syz_timing_end(timing);
  SYZ_TRY(st);
  SYZ_REQUIRE(j->pca->components > 0, SYZ_ERR_NUMERIC,
              "all patch features are the same: there are no principal components");
  log_variance(j);
  SYZ_TRY_ALL(j->comm, make_maps(j));
  SYZ_TRY(find_scales(j));
  paint(j);
  syz_timing_begin(timing, "write");
  st = write_numbers(j);
  if (st == SYZ_OK) st = syz_agree(j->comm, write_pictures(j));
  syz_timing_end(timing);
  SYZ_TRY(st);
  syz_info("wrote %s/patches.h5 and maps as PNG", j->folder);
cleanup:
  return st;
}

static syz_status open_all(job *j, const syz_frozen_options *net)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_frozen_data(j->run, net, "for analyse", net->data.split, true, &j->data));
  SYZ_TRY(syz_frozen_open(j->run, net, &j->net));
cleanup:
  return st;
}

syz_status syz_maps_open(const syz_run *run, const syz_frozen_options *net, const syz_maps_options *options,
                         syz_maps **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  job *j = syz_alloc("maps", 1, sizeof *j);
  SYZ_TRY_ALL(run->world, j ? SYZ_OK : SYZ_ERR_MEMORY);
  *j = (job){.run = run, .options = options, .comm = run->world, .folder = run->folder};
  syz_timing_begin(run->timing, "open");
  st = open_all(j, net);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
  *out = j;
  j = NULL;
cleanup:
  syz_maps_close(&j);
  return st;
}

void syz_maps_close(syz_maps **m)
{
  job *j = *m;
  if (!j) return;
  syz_patches_destroy(&j->patches);
  syz_pca_destroy(&j->pca);
  syz_free(&j->map);
  syz_free(&j->colour);
  syz_frozen_close(&j->net);
  syz_shardset_close(&j->data);
  syz_free(m);
}
