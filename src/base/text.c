/* SPDX-License-Identifier: BSD-3-Clause */
/** Texts: the edit distance of two names, and lists of names as lines. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/base.h"

/* Levenshtein's distance; names are short, longer ones are compared by their first 63 characters. */
int syz_edit_distance(const char *a, const char *b)
{
  int row[64], na = (int)strnlen(a, 63), nb = (int)strnlen(b, 63);
  for (int j = 0; j <= nb; j++) row[j] = j;
  for (int i = 1; i <= na; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= nb; j++) {
      int change = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
      diagonal = row[j];
      int least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
      row[j] = change < least ? change : least;
    }
  }
  return row[nb];
}

char *syz_texts_lines(syz_texts t)
{
  size_t length = 1, used = 0;
  for (int i = 0; i < t.n; i++) length += strlen(t.item[i]) + 1;
  char *text = syz_alloc("lines", length, 1);
  for (int i = 0; text && i < t.n; i++)
    used += (size_t)snprintf(text + used, length - used, "%s%s", i ? "\n" : "", t.item[i]);
  return text;
}

bool syz_texts_have(syz_texts t, const char *text)
{
  for (int i = 0; i < t.n; i++)
    if (strcmp(t.item[i], text) == 0) return true;
  return false;
}
