/* SPDX-License-Identifier: BSD-3-Clause */
/** Attributes of an HDF5 file and the names of its datasets, by libhdf5 in a process of its own. See here.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "here.h"

enum { VISIT_LIMIT = 1000000, VISIT_DEPTH = 32 };

/* ------------------------------------------------------------- attributes */

/* *a stays -1 where there is none. */
static syz_status open_attribute(h5_here *h, const char *object, const char *attribute, hid_t *a)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  const char *at = *object ? object : ".";
  bool has = true;
  *a = -1;
  if (*object) SYZ_TRY(h5_here_has(h, object, &has));
  if (!has) return SYZ_OK;
  const htri_t is_there = H5Aexists_by_name(h->file, at, attribute, H5P_DEFAULT);
  SYZ_REQUIRE(is_there >= 0, h5_here_why(h, reason), "%s: attribute %s cannot be looked for: %s", h->path, attribute,
              reason);
  if (is_there == 0) return SYZ_OK;
  *a = H5Aopen_by_name(h->file, at, attribute, H5P_DEFAULT, H5P_DEFAULT);
  SYZ_REQUIRE(*a >= 0, h5_here_why(h, reason), "%s: attribute %s is damaged: %s", h->path, attribute, reason);
cleanup:
  return st;
}

syz_status h5_here_text(h5_here *h, const char *object, const char *attribute, char **text)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t a = -1, type = -1, space = -1;
  char *value = NULL;
  *text = NULL;
  SYZ_TRY(open_attribute(h, object, attribute, &a));
  if (a < 0) goto cleanup;
  type = H5Aget_type(a);
  space = H5Aget_space(a);
  if (type < 0 || space < 0 || H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
    goto cleanup;
  if (H5Tis_variable_str(type) > 0) {
    char *from = NULL;
    SYZ_REQUIRE(H5Aread(a, type, &from) >= 0, h5_here_why(h, reason), "%s: attribute %s cannot be read: %s", h->path,
                attribute, reason);
    const bool is_long = from && strlen(from) >= H5_TEXT_LIMIT;
    if (from && !is_long) value = h5_copy_text(from);
    const bool is_missing = from && !is_long && !value;
    if (from) H5free_memory(from);
    SYZ_REQUIRE(!is_long, SYZ_ERR_DATA, "%s: attribute %s is longer than %d bytes", h->path, attribute, H5_TEXT_LIMIT);
    SYZ_REQUIRE(!is_missing, SYZ_ERR_MEMORY, "%s: attribute %s: no memory", h->path, attribute);
  } else {
    const size_t width = H5Tget_size(type);
    SYZ_REQUIRE(width > 0 && width < H5_TEXT_LIMIT, SYZ_ERR_DATA, "%s: attribute %s claims %zu bytes", h->path,
                attribute, width);
    SYZ_ALLOC(value, "attribute", width + 1);
    SYZ_REQUIRE(H5Aread(a, type, value) >= 0, h5_here_why(h, reason), "%s: attribute %s cannot be read: %s", h->path,
                attribute, reason);
    value[h5_here_text_length(value, width)] = '\0';
  }
  *text = value;
  value = NULL;
cleanup:
  syz_free(&value);
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  if (a >= 0) H5Aclose(a);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

syz_status h5_here_number(h5_here *h, const char *object, const char *attribute, double *value, bool *found)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t type = -1, space = -1, a = -1;
  *found = false;
  SYZ_TRY(open_attribute(h, object, attribute, &a));
  if (a < 0) goto cleanup;
  type = H5Aget_type(a);
  space = H5Aget_space(a);
  if (type < 0 || space < 0 || H5Sget_simple_extent_npoints(space) != 1) goto cleanup;
  if (H5Tget_class(type) != H5T_INTEGER && H5Tget_class(type) != H5T_FLOAT) goto cleanup;
  SYZ_REQUIRE(H5Aread(a, H5T_NATIVE_DOUBLE, value) >= 0, h5_here_why(h, reason), "%s: attribute %s cannot be read: %s",
              h->path, attribute, reason);
  *found = true;
cleanup:
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  if (a >= 0) H5Aclose(a);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

/* ------------------------------------------------------------------ names */

typedef struct walk {
  h5_here *h;
  char **name;
  int64_t n, seen;
  size_t room, bytes;
  int depth;
  syz_status st;
  char at[1024]; /* path of the group being walked, relative to the first, "" or ending in '/' */
  const char *root;
} walk;

static syz_status walk_keep(walk *w, const char *name)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_grow(&w->name, "dataset names", w->n, 1, &w->room));
  w->name[w->n] = h5_copy_text(name);
  SYZ_REQUIRE(w->name[w->n], SYZ_ERR_MEMORY, "%s: no memory for the names of datasets", w->h->path);
  w->n++;
  w->bytes += strlen(name) + 1;
  SYZ_REQUIRE(w->bytes <= H5_NAMES_LIMIT, SYZ_ERR_DATA, "%s: more than %d bytes of names below %s", w->h->path,
              H5_NAMES_LIMIT, w->root);
cleanup:
  return st;
}

static herr_t walk_link(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
  walk *w = context;
  h5_here *h = w->h;
  syz_status st = SYZ_OK;
  H5O_info_t info;
  char reason[H5_REASON], shown[1100];
  size_t length = strlen(w->at), more = strlen(name);
  hid_t below = -1;
  if (link->type == H5L_TYPE_SOFT)
    return 0; /* what it leads to stands elsewhere in the file, or leads round in circles */
  SYZ_REQUIRE(++w->seen <= VISIT_LIMIT, SYZ_ERR_DATA, "%s: more than %d objects below %s", h->path, VISIT_LIMIT,
              w->root);
  SYZ_REQUIRE(length + more + 2 < sizeof w->at && w->depth < VISIT_DEPTH, SYZ_ERR_DATA,
              "%s: groups too deep at %s%.200s", h->path, w->at, name);
  snprintf(shown, sizeof shown, "%s%s", w->at, name);
  SYZ_TRY(h5_here_check_link(h, group, name, shown, link));
  SYZ_REQUIRE(H5Oget_info_by_name2(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0, h5_here_why(h, reason),
              "%s: object %s is damaged: %s", h->path, shown, reason);
  memcpy(w->at + length, name, more + 1);
  if (info.type == H5O_TYPE_DATASET) {
    SYZ_TRY(walk_keep(w, w->at));
  } else if (info.type == H5O_TYPE_GROUP && link->type == H5L_TYPE_HARD) {
    below = H5Gopen2(group, name, H5P_DEFAULT);
    SYZ_REQUIRE(below >= 0, h5_here_why(h, reason), "%s: group %s is damaged: %s", h->path, w->at, reason);
    memcpy(w->at + length + more, "/", 2);
    w->depth++;
    herr_t rc = H5Literate(below, H5_INDEX_NAME, H5_ITER_INC, NULL, walk_link, w);
    w->depth--;
    if (w->st != SYZ_OK)
      st = w->st; /* its message stands */
    else
      SYZ_REQUIRE(rc >= 0, h5_here_why(h, reason), "%s: group %s is damaged: %s", h->path, w->at, reason);
  }
cleanup:
  if (below >= 0) H5Gclose(below);
  w->at[length] = '\0';
  w->st = st;
  return st == SYZ_OK ? 0 : -1;
}

/* The members of a dataset of records are its columns; *is_record: it is one. */
static syz_status keep_members(walk *w, const char *name, bool *is_record)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  const hid_t dataset = H5Dopen2(w->h->file, name, H5P_DEFAULT), type = dataset >= 0 ? H5Dget_type(dataset) : -1;
  *is_record = type >= 0 && H5Tget_class(type) == H5T_COMPOUND;
  for (int i = 0, n = *is_record ? H5Tget_nmembers(type) : 0; i < n; i++) {
    char *member = H5Tget_member_name(type, (unsigned)i);
    st = member ? walk_keep(w, member)
                : syz_error_set(h5_here_why(w->h, reason), __FILE__, __LINE__, "%s: dataset %s is damaged: %s",
                                w->h->path, name, reason);
    if (member) H5free_memory(member);
    SYZ_TRY(st);
  }
cleanup:
  if (type >= 0) H5Tclose(type);
  if (dataset >= 0) H5Dclose(dataset);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

syz_status h5_here_names(h5_here *h, const char *group, char **names, size_t *bytes)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON], *to;
  walk w = {.h = h, .root = *group ? group : "/"};
  hid_t at = -1;
  bool has = true, is_record = false;
  *names = NULL;
  *bytes = 0;
  if (*group && strcmp(group, "/") != 0) SYZ_TRY(h5_here_has(h, group, &has));
  if (!has) return SYZ_OK; /* an absent group holds nothing */
  if (*group && strcmp(group, "/") != 0) SYZ_TRY(keep_members(&w, group, &is_record));
  if (!is_record) {
    at = H5Gopen2(h->file, *group ? group : "/", H5P_DEFAULT);
    SYZ_REQUIRE(at >= 0, h5_here_why(h, reason), "%s: %s is not a readable group: %s", h->path, w.root, reason);
    const herr_t rc = H5Literate(at, H5_INDEX_NAME, H5_ITER_INC, NULL, walk_link, &w);
    SYZ_TRY(w.st);
    SYZ_REQUIRE(rc >= 0, h5_here_why(h, reason), "%s: group %s is damaged: %s", h->path, w.root, reason);
  }
  if (w.n == 0) goto cleanup;
  qsort(w.name, (size_t)w.n, sizeof *w.name, by_name);
  SYZ_ALLOC(*names, "dataset names", w.bytes);
  to = *names;
  for (int64_t i = 0; i < w.n; i++) {
    const size_t some = strlen(w.name[i]) + 1;
    memcpy(to, w.name[i], some);
    to += some;
  }
  *bytes = w.bytes;
cleanup:
  if (at >= 0) H5Gclose(at);
  for (int64_t i = 0; i < w.n; i++) syz_free(&w.name[i]);
  syz_free(&w.name);
  H5Eclear2(H5E_DEFAULT);
  return st;
}
