/* SPDX-License-Identifier: BSD-3-Clause */
/* Votes of Galaxy Zoo: how well each question is answered from the embeddings. */
#include "probe.h"

static const char *const figures[][2] = {{"mean_deviation", "mean deviation of shares"},
                                         {"nll", "NLL"},
                                         {"accuracy", "accuracy"},
                                         {"weighted_f1", "F1, weighted by class"},
                                         {NULL, NULL}};

static void put_row(syz_page *p, const char *name, const cJSON *row)
{
  syz_page_put(p, "<tr><th scope=\"row\">");
  syz_page_escape(p, name);
  syz_page_put(p, "</th>");
  for (int k = 0; figures[k][0]; k++) {
    const cJSON *f = cJSON_GetObjectItem(row, figures[k][0]);
    syz_page_put(p, "<td>");
    probe_cell(p, probe_number(f, "value"), probe_number(f, "error"), 3);
    syz_page_put(p, "</td>");
  }
  syz_page_put(p, "</tr>\n");
}

static void put_source(syz_page *p, const cJSON *votes)
{
  const cJSON *question;
  char train[32], test[32];
  syz_page_put(p, "<div class=\"card scroll\"><table><caption><b>Votes</b> from ");
  syz_page_escape(p, probe_source(probe_text(votes, "source")));
  syz_page_printf(p, "; %s objects to train, %s to test</caption><thead><tr><th scope=\"col\">question</th>",
                  syz_page_number(probe_number(votes, "train"), train),
                  syz_page_number(probe_number(votes, "test"), test));
  for (int k = 0; figures[k][0]; k++) syz_page_printf(p, "<th scope=\"col\">%s</th>", figures[k][1]);
  syz_page_put(p, "</tr></thead><tbody>\n");
  cJSON_ArrayForEach(question, cJSON_GetObjectItem(votes, "questions"))
  {
    put_row(p, probe_text(question, "question"), question);
  }
  put_row(p, "mean (NLL: sum)", votes);
  syz_page_put(p, "</tbody></table></div>\n");
}

void probe_put_votes(syz_page *p, const probe_view *v)
{
  const cJSON *list = cJSON_GetObjectItem(v->json, "votes"), *votes;
  if (!cJSON_IsArray(list) || !list->child) return;
  syz_page_put(
      p, "<h3>Votes of Galaxy Zoo</h3>\n<p class=\"by\">How far predicted shares of the answers are from those of "
         "the volunteers, and how often the commonest answer is right. Accuracy and F1 are of objects with more "
         "than 34 votes for a question.</p>\n");
  cJSON_ArrayForEach(votes, list) { put_source(p, votes); }
}
