/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The checksum of what a file says of itself: root attribute `checksum`, XXH3 over the attributes of the root and,
 * dataset by dataset in the order of their names, over name, type, shape and attributes, the datasets' own checksums
 * among them. So every attribute and every number of a file is under one value. Without it one bit of a text went
 * unnoticed: HDF5 keeps texts of variable length in a heap that has no checksum of its own.
 *
 * It is formed from values as the library gives them, not from bytes of the file: a copy by h5repack keeps it. Files of
 * older versions and of other programs have none and are read all the same; nothing then tells a damaged text from a
 * sound one.
 */
#include <string.h>

#include "seal.h"

enum { ATTRIBUTE_LIMIT = 64 << 20 };

static const char seal_name[] = "checksum";

typedef struct seal {
  hid_t file;
  const char *path; /* for messages */
  uint64_t sum;
  bool is_root; /* whose own attribute `checksum` is left out */
  syz_status st;
} seal;

/* Length first: texts that follow one another cannot change places of their borders unseen. */
static void add(seal *s, const void *bytes, size_t n)
{
  const uint64_t length = n;
  s->sum = syz_checksum(&length, sizeof length, s->sum);
  s->sum = syz_checksum(bytes, n, s->sum);
}

static void add_type(seal *s, hid_t type)
{
  const H5T_class_t class = H5Tget_class(type);
  const bool has_sign = class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
  const bool is_text = class == H5T_STRING && H5Tis_variable_str(type) > 0;
  const int64_t about[3] = {class, is_text ? -1 : (int64_t)H5Tget_size(type), has_sign};
  add(s, about, sizeof about);
}

/* Number of elements; -1: none can be read. */
static int64_t add_shape(seal *s, hid_t space)
{
  hsize_t dims[H5S_MAX_RANK] = {0};
  const int ndim = H5Sget_simple_extent_ndims(space);
  const hssize_t points = H5Sget_simple_extent_npoints(space);
  if (ndim < 0 || ndim > H5S_MAX_RANK || points < 0) return -1;
  H5Sget_simple_extent_dims(space, dims, NULL);
  add(s, dims, (size_t)ndim * sizeof *dims);
  return (int64_t)points;
}

/* The status of what the library could not do, and its words. */
static syz_status why(char reason[H5_REASON]) { return h5_reason_memory(reason) ? SYZ_ERR_MEMORY : SYZ_ERR_DATA; }

/* Texts of variable length, as many as there are. */
static syz_status add_texts(seal *s, hid_t a, hid_t type, hid_t space, int64_t n, const char *name)
{
  syz_status st = SYZ_OK;
  char **text = NULL, reason[H5_REASON];
  bool is_read = false;
  text = syz_alloc("attribute", (size_t)n + 1, sizeof *text);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "%s: attribute %s: no memory", s->path, name);
  is_read = H5Aread(a, type, text) >= 0;
  SYZ_REQUIRE(is_read, why(reason), "%s: attribute %s cannot be read: %s", s->path, name, reason);
  for (int64_t i = 0; i < n; i++) add(s, text[i] ? text[i] : "", text[i] ? strlen(text[i]) : 0);
cleanup:
  if (is_read) H5Dvlen_reclaim(type, space, H5P_DEFAULT, text);
  syz_free(&text);
  return st;
}

static syz_status add_attribute(seal *s, hid_t object, const char *name)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  unsigned char *value = NULL;
  const hid_t a = H5Aopen(object, name, H5P_DEFAULT), type = a >= 0 ? H5Aget_type(a) : -1,
              space = a >= 0 ? H5Aget_space(a) : -1;
  SYZ_REQUIRE(type >= 0 && space >= 0, SYZ_ERR_DATA, "%s: attribute %s cannot be read: %s", s->path, name,
              h5_reason(reason));
  add(s, name, strlen(name));
  add_type(s, type);
  const int64_t n = add_shape(s, space);
  const size_t item = H5Tget_size(type);
  SYZ_REQUIRE(n >= 0 && item > 0 && (double)n * (double)item <= ATTRIBUTE_LIMIT, SYZ_ERR_DATA,
              "%s: attribute %s claims %lld items of %zu bytes", s->path, name, (long long)n, item);
  if (n == 0) goto cleanup;
  if (H5Tis_variable_str(type) > 0) {
    SYZ_TRY(add_texts(s, a, type, space, n, name));
    goto cleanup;
  }
  SYZ_REQUIRE(H5Tdetect_class(type, H5T_VLEN) <= 0 && H5Tdetect_class(type, H5T_REFERENCE) <= 0, SYZ_ERR_DATA,
              "%s: attribute %s is of a type that no file of this program has", s->path, name);
  value = syz_alloc("attribute", (size_t)n, item);
  SYZ_REQUIRE(value, SYZ_ERR_MEMORY, "%s: attribute %s: no memory", s->path, name);
  SYZ_REQUIRE(H5Aread(a, type, value) >= 0, why(reason), "%s: attribute %s cannot be read: %s", s->path, name, reason);
  add(s, value, (size_t)n * item);
cleanup:
  syz_free(&value);
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  if (a >= 0) H5Aclose(a);
  return st;
}

static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
  seal *s = context;
  (void)info;
  if (s->is_root && strcmp(name, seal_name) == 0) return 0;
  s->st = add_attribute(s, object, name);
  return s->st == SYZ_OK ? 0 : -1;
}

static syz_status add_attributes(seal *s, hid_t object, const char *of)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  const herr_t rc = H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_attribute, s);
  SYZ_TRY(s->st);
  SYZ_REQUIRE(rc >= 0, SYZ_ERR_DATA, "%s: the attributes of %s cannot be read: %s", s->path, of, h5_reason(reason));
cleanup:
  return st;
}

static syz_status add_dataset(seal *s, const char *name)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  const hid_t d = H5Dopen2(s->file, name, H5P_DEFAULT), type = d >= 0 ? H5Dget_type(d) : -1,
              space = d >= 0 ? H5Dget_space(d) : -1;
  SYZ_REQUIRE(type >= 0 && space >= 0, SYZ_ERR_DATA, "%s: dataset %s cannot be opened: %s", s->path, name,
              h5_reason(reason));
  add(s, name, strlen(name));
  add_type(s, type);
  SYZ_REQUIRE(add_shape(s, space) >= 0, SYZ_ERR_DATA, "%s: dataset %s has no shape", s->path, name);
  SYZ_TRY(add_attributes(s, d, name));
cleanup:
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  if (d >= 0) H5Dclose(d);
  return st;
}

syz_status h5_seal_sum(hid_t file, const char *path, const char *const *name, int64_t n, uint64_t *sum)
{
  syz_status st = SYZ_OK;
  seal s = {.file = file, .path = path, .sum = 1, .is_root = true};
  SYZ_TRY(add_attributes(&s, file, "the root"));
  s.is_root = false;
  for (int64_t i = 0; i < n; i++) SYZ_TRY(add_dataset(&s, name[i]));
  *sum = s.sum;
cleanup:
  H5Eclear2(H5E_DEFAULT);
  return st;
}
