/* SPDX-License-Identifier: BSD-3-Clause */
#include "syzygy/json.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/files.h"

cJSON *syz_json_number(double x) { return isfinite(x) ? cJSON_CreateNumber(x) : cJSON_CreateNull(); }

void syz_json_add_number(cJSON *object, const char *name, double x)
{
  cJSON_AddItemToObject(object, name, syz_json_number(x));
}

void syz_json_add_numbers(cJSON *object, const char *name, int64_t n, const double *x)
{
  cJSON *list = cJSON_AddArrayToObject(object, name);
  for (int64_t i = 0; i < n; i++) cJSON_AddItemToArray(list, syz_json_number(x[i]));
}

syz_status syz_json_write(const char *folder, const char *name, const cJSON *value)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *text = cJSON_Print(value);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "no memory for %s", name);
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  SYZ_TRY(syz_file_write(path, text, strlen(text)));
cleanup:
  cJSON_free(text);
  return st;
}
