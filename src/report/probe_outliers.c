/* SPDX-License-Identifier: BSD-3-Clause */
/* Strange objects: how far both scores agree, and the first objects of outliers.csv. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "syzygy/files.h"

enum { SHOWN = 10, BEGINNING = 64 << 10 /* bytes of the list, whose first rows are far shorter */ };
static const char HEAD[] = "object_id,ra,dec,score";

/* The beginning of a file as a text; false: there is none that can be read. */
static bool read_beginning(const char *path, char text[BEGINNING + 1])
{
  int fd;
  int64_t bytes;
  size_t n = 0;
  ssize_t got;
  if (access(path, F_OK) != 0 || syz_file_open_input(path, &fd, &bytes) != SYZ_OK) return false;
  while (n < BEGINNING && (got = read(fd, text + n, BEGINNING - n)) > 0) n += (size_t)got;
  close(fd);
  text[n] = '\0';
  return true;
}

/* Cuts the first cell off; the rest of the line, NULL: there is none. */
static char *cut_cell(char *line)
{
  char *comma = strchr(line, ',');
  if (comma) *comma++ = '\0';
  return comma;
}

/* A line object_id,ra,dec,score,.. as a row of the table. */
static void put_object(syz_page *p, int rank, char *line)
{
  char *cell[4] = {line};
  for (int k = 1; k < 4; k++)
    if (!(cell[k] = cut_cell(cell[k - 1]))) return;
  cut_cell(cell[3]);
  syz_page_printf(p, "<tr><th scope=\"row\">%d</th><td class=\"id\">", rank);
  syz_page_escape(p, cell[0]);
  syz_page_put(p, "</td><td>");
  syz_page_escape(p, cell[3]);
  syz_page_put(p, "</td></tr>\n");
}

static void put_first(syz_page *p, char *text)
{
  char *line = strchr(text, '\n'), *end;
  if (!line) return;
  syz_page_put(p, "<div class=\"card scroll\"><table><caption>The strangest objects; scores are from 5 (strangest) to "
                  "0</caption><thead><tr><th scope=\"col\">rank</th><th scope=\"col\">object</th><th "
                  "scope=\"col\">score</th></tr></thead><tbody>\n");
  for (int k = 1; k <= SHOWN && (end = strchr(++line, '\n')); k++, line = end) {
    *end = '\0';
    put_object(p, k, line);
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

static void put_agreement(syz_page *p, const cJSON *outliers)
{
  const cJSON *s;
  char n[32];
  syz_page_put(p, "<div class=\"card scroll\"><table><caption>Agreement of both scores, density and distance to the "
                  "nearest others: correlation of their ranks</caption><thead><tr><th scope=\"col\">from</th><th "
                  "scope=\"col\">objects</th><th scope=\"col\">correlation</th></tr></thead><tbody>\n");
  cJSON_ArrayForEach(s, cJSON_GetObjectItem(outliers, "sources"))
  {
    syz_page_put(p, "<tr><th scope=\"row\">");
    syz_page_escape(p, probe_source(probe_text(s, "source")));
    syz_page_printf(p, "</th><td>%s</td><td>", syz_page_number(probe_number(s, "n"), n));
    probe_cell(p, probe_number(s, "rank_correlation"), (double)NAN, 3);
    syz_page_put(p, "</td></tr>\n");
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

void probe_put_outliers(syz_page *p, const probe_view *v)
{
  const cJSON *outliers = cJSON_GetObjectItem(v->json, "outliers");
  char path[PATH_MAX], n[32];
  if (!cJSON_IsObject(outliers)) return;
  char *text = syz_alloc("list", BEGINNING + 1, 1);
  const bool is_named = snprintf(path, sizeof path, "%s/outliers.csv", v->folder) < (int)sizeof path;
  syz_page_printf(p, "<h3>Strange objects</h3>\n<p>%s objects are ranked in outliers.h5; the first of them as text: ",
                  syz_page_number(probe_number(outliers, "n"), n));
  syz_page_escape(p, path);
  syz_page_put(p, ".</p>\n");
  put_agreement(p, outliers);
  if (text && is_named && read_beginning(path, text) && strncmp(text, HEAD, sizeof HEAD - 1) == 0)
    put_first(p, text);
  else
    syz_page_missing(p, "%s cannot be read as a list of strange objects: they are not shown.", path);
  syz_free(&text);
}
