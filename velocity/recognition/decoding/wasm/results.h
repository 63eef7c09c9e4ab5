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

// How many words may end a path: those that are pronounced so, or one of no word, or none is begun.
static int32_t endings(const Path *path) { return nodes[path->node].homophones ? nodes[path->node].homophones : 1; }

static int32_t ending(const Path *path, int32_t row) {
  if (path->node == ROOT) return NOTHING;
  return nodes[path->node].homophones ? spoken[nodes[path->node].spelled + row] : NO_WORD;
}

// The score of a path that a word ends, by the n-grams alone or by the mixture.
static double total(Search *search, const Path *path, int32_t word, int mixture) {
  History after = search->histories[path->history];
  double worth = 0, log_prob = 0, end;
  if (word != NOTHING) worth = follow(search, path->history, path->node, word, &after, &log_prob);
  end = score(&after.state, END, NULL);
  if (share && mixture) {
    Memory memory;
    const Memory *before = memory_of(search, path->history);
    if (word != NOTHING) {
      log_prob = with_network(search, path->history, word, log_prob);
      remember(before, number_in_lm(word), &memory);
    }
    end = mixed(end, expected(word != NOTHING ? &memory : before, END));
  }
  return path->mass + search->scale + worth + weight * (log_prob + end);
}

// The score of a path that a word ends, a float64 in two numbers, the entry, the number of words, and these.
static void add_result(Search *search, const Path *path, int32_t word) {
  double found = total(search, path, word, 1);
  int32_t count = words_of(search, path->entry, NULL), last = word != NOTHING;
  int32_t *result = new_numbers(search, 4 + count + last);
  memcpy(result, &found, sizeof found);
  result[2] = path->entry, result[3] = count + last;
  words_of(search, path->entry, result + 4);
  if (last) result[4 + count] = word;
}

// The ranks of the paths, into `ranks` (paths,) → the best path.
static const Path *ranked(Search *search) {
  int32_t best = 0;
  search->ranks = room(search->ranks, &search->rank_room, search->path_count, sizeof(double));
  for (int32_t i = 0; i < search->path_count; i++) {
    const Path *path = &search->paths[i];
    search->ranks[i] = path->mass + nodes[path->node].ahead;
    if (search->ranks[i] > search->ranks[best]) best = i;
  }
  return &search->paths[best];
}

// Of the frames so far, as if they were all: each path with each word that may end it. A network takes a step for each,
// so it does for the better ones only.
EXPORT(results) const int32_t *results(Search *search) {
  double best = -INFINITY;
  for (int32_t i = 0; share && i < search->path_count; i++) {
    const Path *path = &search->paths[i];
    for (int32_t row = 0; row < endings(path); row++) best = fmax(best, total(search, path, ending(path, row), 0));
  }
  search->result_size = 0;
  new_numbers(search, 1);
  for (int32_t i = 0; i < search->path_count; i++) {
    const Path *path = &search->paths[i];
    for (int32_t row = 0; row < endings(path); row++) {
      int32_t word = ending(path, row);
      if (share && total(search, path, word, 0) < best - END_MARGIN * search->margin) continue;
      add_result(search, path, word);
    }
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
  for (int32_t row = 0; row < endings(best); row++) add_result(search, best, ending(best, row));
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
