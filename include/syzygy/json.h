/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * json: results as JSON files, beside what cJSON does itself.
 *
 * cJSON returns NULL without memory, and its functions pass a NULL on: a value is built without checks, and writing it
 * finds out. Nothing here is collective.
 */
#pragma once

#include "syzygy/base.h"

struct cJSON;

/** A number, null where it is not finite. NULL without memory. */
struct cJSON *syz_json_number(double x);
/** The same as a member of an object. */
void syz_json_add_number(struct cJSON *object, const char *name, double x);
/** A list of n of them. */
void syz_json_add_numbers(struct cJSON *object, const char *name, int64_t n, const double *x);
/** Write a value, which stays the caller's, to folder/name as syz_file_write does. SYZ_ERR_MEMORY, SYZ_ERR_WRITE. */
syz_status syz_json_write(const char *folder, const char *name, const struct cJSON *value);
