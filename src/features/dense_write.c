/* SPDX-License-Identifier: BSD-3-Clause */
/* The output of a dense probe: probe.json, dense.h5, and a picture for each of the first held-out objects. */
#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dense.h"
#include "syzygy/files.h"
#include "syzygy/json.h"
#include "syzygy/picture.h"

/* ------------------------------------------------------------------ JSON */

static void add_figures(cJSON *o, const char *name, const syz_class_figures *f)
{
  cJSON *g = cJSON_AddObjectToObject(o, name);
  cJSON_AddNumberToObject(g, "n", (double)f->n);
  syz_json_add_number(g, "accuracy", f->accuracy);
  syz_json_add_number(g, "majority", f->majority);
  syz_json_add_number(g, "balanced_accuracy", f->balanced_accuracy);
  syz_json_add_number(g, "macro_f1", f->macro_f1);
  syz_json_add_number(g, "mean_iou", f->mean_iou);
  cJSON *iou = cJSON_AddObjectToObject(g, "iou");
  for (int k = 0; k < SYZ_SEGMENTS; k++) syz_json_add_number(iou, syz_segment_name[k], f->iou[k]);
}

static cJSON *result_json(const syz_dense_result *r)
{
  cJSON *o = cJSON_CreateObject(), *fit, *numbers;
  cJSON_AddStringToObject(o, "weights", r->weights);
  add_figures(o, "patches", &r->patch);
  add_figures(o, "pixels", &r->pixel);
  numbers = cJSON_AddObjectToObject(o, "r2");
  for (int t = 0; t < r->targets; t++) syz_json_add_number(numbers, syz_truth_name[t], r->r2[t]);
  fit = cJSON_AddObjectToObject(o, "fit");
  syz_json_add_number(fit, "loss", r->fit.loss);
  syz_json_add_number(fit, "gradient", r->fit.gradient);
  cJSON_AddNumberToObject(fit, "iterations", (double)r->fit.iterations);
  cJSON_AddBoolToObject(fit, "has_converged", r->fit.has_converged);
  return o;
}

/* On rank 0. cJSON returns NULL without memory, and its adders pass that on: one check at the end. */
static syz_status write_json(const syz_run *run, const syz_frozen *net, int n, const syz_dense_result *result)
{
  syz_status st = SYZ_OK;
  char colour[16];
  cJSON *root = cJSON_CreateObject(), *list, *colours, *targets;
  cJSON_AddStringToObject(root, "created_by", run->created_by);
  cJSON_AddStringToObject(root, "task", "dense");
  cJSON_AddStringToObject(root, "model_file", net->options->model_file);
  cJSON_AddStringToObject(root, "model_digest", net->digest);
  cJSON_AddNumberToObject(root, "train_objects", (double)result[0].train_objects);
  cJSON_AddNumberToObject(root, "test_objects", (double)result[0].objects);
  list = cJSON_AddArrayToObject(root, "models");
  for (int i = 0; i < n; i++) cJSON_AddItemToArray(list, result_json(&result[i]));
  colours = cJSON_AddObjectToObject(root, "colours");
  for (int k = 0; k < SYZ_SEGMENTS; k++) {
    const unsigned char *c = syz_segment_colour[k];
    snprintf(colour, sizeof colour, "#%02x%02x%02x", c[0], c[1], c[2]);
    cJSON_AddStringToObject(colours, syz_segment_name[k], colour);
  }
  targets = cJSON_AddObjectToObject(root, "targets");
  for (int t = 0; t < result[0].targets; t++) cJSON_AddStringToObject(targets, syz_truth_name[t], syz_truth_help[t]);
  st = syz_json_write(run->folder, "probe.json", root);
  cJSON_Delete(root);
  return st;
}

/* ------------------------------------------------------------------ HDF5 */

static void classes_of(const syz_dense_result *r, uint8_t *truth, uint8_t *said)
{
  for (int64_t i = 0; i < r->n * r->cells; i++) {
    const float *z = r->logit + i * SYZ_SEGMENTS;
    truth[i] = (uint8_t)r->truth.label[i];
    said[i] = 0;
    for (int k = 1; k < SYZ_SEGMENTS; k++)
      if (z[k] > z[said[i]]) said[i] = (uint8_t)k;
  }
}

static syz_status write_numbers(const syz_run *run, const syz_frozen *net, syz_shardset *test,
                                const syz_dense_result *r)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], names[256] = "", *data_path = syz_texts_lines(net->options->data.path);
  const int64_t grid[2] = {r->side, r->side}, numbers[3] = {r->side, r->side, r->targets};
  int64_t *id = syz_alloc("objects", (size_t)r->n + 1, sizeof *id);
  uint8_t *truth = syz_alloc("segments", (size_t)(r->n * r->cells) + 1, 1),
          *said = syz_alloc("segments", (size_t)(r->n * r->cells) + 1, 1);
  syz_h5 *f = NULL;
  SYZ_TRY_ALL(run->world, data_path && id && truth && said ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < r->n; i++) id[i] = syz_shardset_objects(test)[r->number[i]].object_id;
  for (int t = 0; t < r->targets; t++)
    snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", t ? " " : "", syz_truth_name[t]);
  classes_of(r, truth, said);
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/dense.h5", run->folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  SYZ_TRY(syz_h5_create(run->world, path, "dense", run->created_by, run->input_yaml, &f));
  SYZ_TRY(syz_h5_write_text(f, "model_file", net->options->model_file));
  SYZ_TRY(syz_h5_write_text(f, "model_digest", net->digest));
  SYZ_TRY(syz_h5_write_text(f, "weights", r->weights));
  SYZ_TRY(syz_h5_write_text(f, "data_path", data_path));
  SYZ_TRY(syz_h5_write_text(f, "targets", names));
  SYZ_TRY(syz_h5_write(f, "object_id", SYZ_H5_I64, r->objects, 0, NULL, r->first, r->n, id, "1", "held-out objects"));
  SYZ_TRY(syz_h5_write(f, "class_true", SYZ_H5_U8, r->objects, 2, grid, r->first, r->n, truth, "1",
                       "segment of most of a patch's pixels; axes (y, x)"));
  SYZ_TRY(syz_h5_write(f, "class_predicted", SYZ_H5_U8, r->objects, 2, grid, r->first, r->n, said, "1",
                       "segment by the linear head"));
  SYZ_TRY(syz_h5_write(f, "target_true", SYZ_H5_F32, r->objects, 3, numbers, r->first, r->n, r->truth.target, "1",
                       "numbers of each patch, named by the attribute targets; axes (y, x, target)"));
  SYZ_TRY(syz_h5_write(f, "target_predicted", SYZ_H5_F32, r->objects, 3, numbers, r->first, r->n, r->prediction, "1",
                       "the same by ridge regression"));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  syz_free(&data_path);
  syz_free(&id);
  syz_free(&truth);
  syz_free(&said);
  return st;
}

/* -------------------------------------------------------------- pictures */

typedef struct sheet {
  int size, side, cell,
      column; /* pixels of an image, patches a side, pixels of a patch, pixels from one panel to the next */
  float *image, *planes;
  unsigned char *rgb;
  uint8_t *pixel;
  syz_picture picture;
} sheet;

static void sheet_free(sheet *s)
{
  syz_free(&s->image);
  syz_free(&s->planes);
  syz_free(&s->rgb);
  syz_free(&s->pixel);
  syz_picture_free(&s->picture);
}

/* Segments of pixels in their colours, row 0 at the bottom. */
static void paint_segments(sheet *s, int panel, const uint8_t *pixel)
{
  for (int y = 0; y < s->size; y++)
    for (int x = 0; x < s->size; x++)
      memcpy(s->rgb + 3 * ((s->size - 1 - y) * s->size + x), syz_segment_colour[pixel[y * s->size + x]], 3);
  syz_picture_paint(&s->picture, panel * s->column, 0, 1, s->size, s->rgb);
}

/* Paint the first target of each patch, with colours from low to high. */
static void paint_numbers(sheet *s, int panel, const float *value, int targets, double low, double high)
{
  for (int y = 0; y < s->side; y++)
    for (int x = 0; x < s->side; x++)
      syz_shade(((double)value[(y * s->side + x) * targets] - low) / (high > low ? high - low : 1),
                s->rgb + 3 * ((s->side - 1 - y) * s->side + x));
  syz_picture_paint(&s->picture, panel * s->column, 0, s->cell, s->side, s->rgb);
}

/* Panels: image; true and predicted segments; true and predicted surface brightness. */
static syz_status write_picture(const syz_run *run, syz_shardset *test, const syz_dense_result *r, int64_t i)
{
  enum { PANELS = 5, GAP = 6 };
  syz_status st = SYZ_OK;
  const int64_t size = r->truth.size, cells = r->cells;
  const float *value = r->truth.target + i * cells * r->targets;
  double low = INFINITY, high = -INFINITY;
  char path[PATH_MAX];
  sheet s = {.size = (int)size, .side = (int)r->side, .cell = (int)(size / r->side), .column = (int)size + GAP};
  SYZ_ALLOC(s.image, "image", SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE);
  SYZ_ALLOC(s.planes, "image", SYZ_BANDS * size * size);
  SYZ_ALLOC(s.rgb, "image", 3 * size * size);
  SYZ_ALLOC(s.pixel, "segments", size * size);
  SYZ_TRY(syz_picture_create(PANELS * s.column - GAP, s.size, 255, &s.picture));
  SYZ_TRY(syz_shardset_read(test, 1, &r->number[i], s.image, NULL, NULL));
  syz_prepare_images(s.image, 1, size, s.planes);
  syz_planes_to_rgb(s.planes, s.size, s.rgb);
  syz_picture_paint(&s.picture, 0, 0, 1, s.size, s.rgb);
  paint_segments(&s, 1, r->truth.pixel + i * size * size);
  syz_dense_pixels(r->logit + i * cells * SYZ_SEGMENTS, r->side, size, s.pixel);
  paint_segments(&s, 2, s.pixel);
  for (int64_t k = 0; k < cells; k++) {
    low = fmin(low, (double)value[k * r->targets]);
    high = fmax(high, (double)value[k * r->targets]);
  }
  paint_numbers(&s, 3, value, r->targets, low, high);
  paint_numbers(&s, 4, r->prediction + i * cells * r->targets, r->targets, low, high);
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/dense-%05lld-%lld.png", run->folder, (long long)(r->first + i),
                       (long long)syz_shardset_objects(test)[r->number[i]].object_id) < (int)sizeof path,
              SYZ_ERR_WRITE, "output.dir: name too long");
  SYZ_TRY(syz_picture_write(&s.picture, path));
cleanup:
  sheet_free(&s);
  return st;
}

static syz_status write_pictures(const syz_run *run, syz_shardset *test, int64_t wanted, const syz_dense_result *r)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < r->n && r->first + i < wanted; i++) SYZ_TRY(write_picture(run, test, r, i));
cleanup:
  return st;
}

syz_status syz_dense_write(const syz_run *run, const syz_frozen *net, syz_shardset *test, int64_t pictures, int n,
                           const syz_dense_result *result)
{
  syz_status st = SYZ_OK;
  syz_timing_begin(run->timing, "write");
  st = write_numbers(run, net, test, &result[0]);
  if (st == SYZ_OK) st = syz_agree(run->world, write_pictures(run, test, pictures, &result[0]));
  if (st == SYZ_OK)
    st = syz_agree(run->world, syz_comm_rank(run->world) == 0 ? write_json(run, net, n, result) : SYZ_OK);
  syz_timing_end(run->timing);
  return st;
}
