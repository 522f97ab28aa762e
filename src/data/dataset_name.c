/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts of the user in names of datasets: who writes predictions and who reads them name them alike. */
#include <stdio.h>
#include <string.h>

#include "syzygy/data.h"

enum { KEPT = 108 /* characters of a long text, before .. and 16 digits */ };

void syz_dataset_name(const char *text, char out[SYZ_DATASET_NAME])
{
  const size_t n = strlen(text);
  if (n < SYZ_DATASET_NAME)
    snprintf(out, SYZ_DATASET_NAME, "%s", strcmp(text, ".") == 0 ? "_" : text);
  else
    snprintf(out, SYZ_DATASET_NAME, "%.*s..%016llx", KEPT, text, (unsigned long long)syz_checksum(text, n, 0));
  for (char *c = out; *c; c++)
    if (*c == '/') *c = '_';
}
