// What a search has found.

#pragma once

#include "common.h"
#include "histories.h"

static const double AGREEMENT = 2;       // nats: other hypotheses are good if they are at most so much worse

// Results are numbers, of which the first one says how many follow. They stay until the next ones.
static int32_t *new_numbers(Search *search, int32_t count) {
  int32_t size = search->result_size + count;
  search->result = room(search->result, &search->result_room, size, sizeof(int32_t));
  search->result_size = size;
  search->result[0] = size - 1;
  return search->result + size - count;
}

// The words of a path up to an entry → how many; in their order, if there is room for them.
static int32_t words_of(const Search *search, int32_t entry, int32_t *words) {
  int32_t count = 0;
  for (int32_t at = entry; (at = search->trace[at].ended); at = search->trace[at].before) count++;
  int32_t place = count;
  for (int32_t at = entry; words && (at = search->trace[at].ended); at = search->trace[at].before) {
    words[--place] = search->trace[at].word;
  }
  return count;
}

// Each word that may end a path: the score, a float64 in two numbers, the entry, the number of words, and these.
static void add_results(Search *search, const Path *path) {
  Node node = nodes[path->node];
  double mass = log(path->blank + path->label) + search->scale;
  for (int32_t row = 0; row < (node.homophones ? node.homophones : 1); row++) {
    int32_t word = node.homophones ? spoken[node.spelled + row] : path->node == ROOT ? NOTHING : NO_WORD;
    History after;
    double total = mass + follow(search, path->history, path->node, word, &after);
    double log_prob = score(&after.state, END, NULL);
    if (share) {
      Memory memory;
      const Memory *before = memory_of(search, path->history);
      if (word != NOTHING) remember(before, number_in_lm(word), &memory);
      log_prob = mixed(log_prob, expected(word != NOTHING ? &memory : before, END));
    }
    total += weight * log_prob;
    int32_t count = words_of(search, path->entry, NULL), last = word != NOTHING;
    int32_t *result = new_numbers(search, 4 + count + last);
    memcpy(result, &total, sizeof total);
    result[2] = path->entry, result[3] = count + last;
    words_of(search, path->entry, result + 4);
    if (last) result[4 + count] = word;
  }
}

// The ranks of the paths, into `ranks` (paths,) → the best path.
static const Path *ranked(Search *search) {
  int32_t best = 0;
  search->ranks = room(search->ranks, &search->rank_room, search->path_count, sizeof(double));
  for (int32_t i = 0; i < search->path_count; i++) {
    const Path *path = &search->paths[i];
    search->ranks[i] = log(path->blank + path->label) + nodes[path->node].ahead;
    if (search->ranks[i] > search->ranks[best]) best = i;
  }
  return &search->paths[best];
}

// Of the frames so far, as if they were all. A network takes a step for each path, so it does for the better ones only.
EXPORT(results) const int32_t *results(Search *search) {
  const Path *best = ranked(search);
  double least = share ? search->ranks[best - search->paths] - search->margin / 2 : -INFINITY;
  search->result_size = 0;
  new_numbers(search, 1);
  for (int32_t i = 0; i < search->path_count; i++) {
    if (search->ranks[i] >= least) add_results(search, &search->paths[i]);
  }
  return search->result;
}

// Of the frames so far, if they are not all: how many words, from the first on, all paths have that are at most
// AGREEMENT worse than the best one; then the results of that one, with each word that it may have begun.
EXPORT(so_far) const int32_t *so_far(Search *search) {
  const Path *best = ranked(search);
  double most = search->ranks[best - search->paths];
  int32_t agreed = words_of(search, best->entry, NULL);
  int32_t *words = allocate(agreed * sizeof *words);
  words_of(search, best->entry, words);
  for (int32_t i = 0; i < search->path_count; i++) {
    if (search->ranks[i] < most - AGREEMENT) continue;
    int32_t entry = search->paths[i].entry, count = words_of(search, entry, NULL);
    if (count < agreed) agreed = count;
    for (; (entry = search->trace[entry].ended); entry = search->trace[entry].before) {
      if (--count < agreed && search->trace[entry].word != words[count]) agreed = count;
    }
  }
  free(words);
  search->result_size = 0;
  new_numbers(search, 2)[1] = agreed;
  add_results(search, best);
  return search->result;
}

// The labels up to an entry, and the frame in which each appeared.
EXPORT(labels) const int32_t *labels(Search *search, int32_t entry) {
  int32_t count = 0;
  for (int32_t at = entry; at; at = search->trace[at].before) count++;
  search->result_size = 0;
  int32_t *next = new_numbers(search, 1 + 2 * count) + 1 + 2 * count;
  for (int32_t at = entry; at; at = search->trace[at].before) {
    *--next = search->trace[at].frame;
    *--next = search->trace[at].label;
  }
  return search->result;
}
