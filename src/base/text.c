/* SPDX-License-Identifier: BSD-3-Clause */
/** Texts: the edit distance of two names, lists of names as lines, numbers as people write them. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Digits with a comma before every three; returns their number of characters. */
static int put_thousands(char text[SYZ_NUMBER_TEXT], int64_t n)
{
  char digits[32];
  const int count = snprintf(digits, sizeof digits, "%" PRIu64, n < 0 ? (uint64_t)0 - (uint64_t)n : (uint64_t)n);
  int used = 0;
  if (n < 0) text[used++] = '-';
  for (int i = 0; i < count; i++) {
    if (i && (count - i) % 3 == 0) text[used++] = ',';
    text[used++] = digits[i];
  }
  text[used] = '\0';
  return used;
}

/* 1e-05 -> 1e-5, 4e+09 -> 4e9 */
static void shorten_exponent(char *text)
{
  char *e = strchr(text, 'e');
  if (!e) return;
  char *to = ++e, *from = e;
  if (*from == '-') to++;
  if (*from == '-' || *from == '+') from++;
  while (*from == '0' && from[1]) from++;
  memmove(to, from, strlen(from) + 1);
}

const char *syz_number_text(char text[SYZ_NUMBER_TEXT], double x)
{
  const double great = 1e9, greatest = 9e15; /* from the first on powers of ten where they are exact */
  const bool is_whole = fabs(x) <= greatest && x == floor(x);
  snprintf(text, SYZ_NUMBER_TEXT, "%.3g", x);
  const bool is_short = strtod(text, NULL) == x;
  if (is_whole && !(is_short && fabs(x) >= great)) {
    put_thousands(text, (int64_t)x);
    return text;
  }
  if (!is_short) snprintf(text, SYZ_NUMBER_TEXT, "%.15g", x);
  shorten_exponent(text);
  return text;
}

const char *syz_count_text(char text[SYZ_NUMBER_TEXT], int64_t n, const char *noun)
{
  const int used = put_thousands(text, n);
  snprintf(text + used, SYZ_NUMBER_TEXT - (size_t)used, " %s%s", noun, n == 1 ? "" : "s");
  return text;
}
