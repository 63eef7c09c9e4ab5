// The search for words in log-posteriors of phones: token passing (Young, Russell & Thornton 1989) through the tree of
// a lexicon, with CTC's blanks and repetitions, an n-gram language model and hot words. Compiled to WebAssembly
// (`make search`), it runs in browsers (velocity/web/search.js) and in Python (phone_search.py).
//
// A path is at a node of the tree, after a history of complete words. Paths at the same place get the same from
// whatever follows, so they are merged: their probabilities are added, and the better one's words are kept. As in a
// prefix beam search, those that end in the blank and those that end in their last label are told apart, because only
// the former can repeat that label.
//
// The score of a text is ln P_CTC + weight · ln P_LM + bonus · words + rewards of hot words. P_LM is an n-gram model's,
// or a mixture of it and of a recurrent network. All logarithms are natural. A module holds one vocabulary, which any
// number of searches use. Running out of memory ends in a trap.

#include "common.h"
#include "histories.h"
#include "hotwords.h"
#include "lexicon.h"
#include "network.h"
#include "ngrams.h"
#include "results.h"

// The SHA-256 digest of these files, by which a test sees that the module was made from them.
EXPORT(source) const char *source(void) { return SOURCE; }

// A search that keeps `beam` paths. Above 1, `alike` is how many different histories are kept that the n-grams and the
// hot words cannot tell apart. Paths grow by the `tokens` best classes of a frame, unless they are less
// probable than `floor`, and are dropped when worse than the best one by `margin`, natural logarithms. Nothing is
// pruned, and the scores are exact, if these are large enough and `floor` is minus infinity.
EXPORT(begin) Search *begin(int32_t beam, int32_t alike, int32_t tokens, double floor, double margin) {
  Search *search = allocate(sizeof *search);
  *search = (Search){.beam = beam, .alike = alike, .tokens = tokens, .floor = floor, .margin = margin};
  History history = {.place = NO_PHRASE, .before = -1, .word = NOTHING};
  State none;
  memset(&none, 0xff, sizeof none);
  score(&none, START, &history.state);
  search->paths = room(search->paths, &search->path_room, 1, sizeof(Path));
  search->paths[0] = (Path){.history = number_of(search, &history), .node = ROOT, .last = BLANK, .blank = 1};
  search->path_count = 1;
  search->trace = room(search->trace, &search->entry_room, 1, sizeof(Entry));
  search->trace[0] = (Entry){0, BLANK, -1, NOTHING, 0};
  search->entry_count = 1;
  return search;
}

EXPORT(end) void end(Search *search) {
  free(search->paths), free(search->before), free(search->grown), free(search->merged), free(search->trace);
  for (int32_t i = 0; i < search->history_count; i++) free(search->histories[i].memory);
  free(search->histories), free(search->kept), free(search->result), free(search->ranks);
  free(search->alike_index.slots), free(search->apart_index.slots), free(search->merged_index.slots);
  free(search->group_index.slots);
  free(search);
}

// The classes that are probable enough, without the blank, in their order; `labels` (CLASSES,) → how many. If the blank
// is improbable, the best class must stay, however flat the distribution.
static int32_t candidates(const Search *search, const double *frame, int32_t *labels) {
  double most = -INFINITY, least = search->floor;
  for (int32_t label = 0; label < CLASSES; label++) if (label != BLANK) most = fmax(most, frame[label]);
  if (frame[BLANK] < search->floor) least = fmin(least, most);
  int32_t count = 0;
  for (int32_t label = 0; label < CLASSES; label++) {
    if (label == BLANK || frame[label] < least || frame[label] == -INFINITY) continue;
    int32_t better = 0;
    for (int32_t other = 0; other < CLASSES; other++) {
      better += other != BLANK && (frame[other] > frame[label] || (frame[other] == frame[label] && other < label));
    }
    if (better < search->tokens) labels[count++] = label;
  }
  return count;
}

static void add_grown(
    Search *search, double least, int32_t source, int32_t node, int32_t last, int32_t word, double mass, double ahead) {
  if (mass + ahead < least) return;
  search->grown = room(search->grown, &search->grown_room, search->grown_count + 1, sizeof(Grown));
  search->grown[search->grown_count++] = (Grown){source, node, last, word, 0, mass, mass + ahead};
}

// All paths that are longer by one of the labels, but for those whose estimates are below `least`. Longer beginnings of
// words are worth no more than shorter ones, or nothing that a word begins with.
static void grow(Search *search, const double *frame, const int32_t *labels, int32_t count, double least) {
  search->grown_count = 0;
  for (int32_t i = 0; i < search->path_count; i++) {
    Path path = search->paths[i];
    Node node = nodes[path.node];
    double most = path.node == ROOT ? INFINITY : fmax(node.ahead, nodes[nowhere].ahead);
    for (int32_t j = 0; j < count; j++) {
      int32_t label = labels[j];
      double mass = path.mass + frame[label];
      if (label != BOUNDARY && mass + most < least) continue;
      if (label == path.last) mass = log(path.blank) + frame[label];
      if (!(mass > -INFINITY)) continue;
      if (label != BOUNDARY) {
        int32_t further = longer(path.node, label);
        if (further == nowhere) mass += UNKNOWN_PHONE * (node.depth + 1);
        add_grown(search, least, i, further, label, NOTHING, mass, nodes[further].ahead);
      } else if (path.node == ROOT) {
        add_grown(search, least, i, ROOT, label, NOTHING, mass, 0);
      } else if (!node.homophones) {
        add_grown(search, least, i, ROOT, label, NO_WORD, mass, nodes[nowhere].ahead + UNKNOWN_PHONE * node.depth);
      }
      for (int32_t row = 0; label == BOUNDARY && row < node.homophones; row++) {
        int32_t word = spoken[node.spelled + row];
        add_grown(search, least, i, ROOT, label, word, mass, alone(word));
      }
    }
  }
}

// The value that `most` of the `count` values reach; their order changes (Hoare 1961).
static double reached_by(double *values, int32_t count, int32_t most) {
  int32_t from = 0, to = count - 1, wanted = most - 1;
  while (from < to) {
    double pivot = values[from + (to - from) / 2];
    int32_t i = from, j = to;
    while (i <= j) {
      while (values[i] > pivot) i++;
      while (values[j] < pivot) j--;
      if (i <= j) {
        double swapped = values[i];
        values[i++] = values[j], values[j--] = swapped;
      }
    }
    if (wanted <= j) to = j;
    else if (wanted >= i) from = i;
    else break;
  }
  return values[wanted];
}

// The probability that a path stays at its place: in the blank and in its last label, if the frame has a chance of it.
static void stay(const Path *path, const double *probabilities, double *blank, double *label) {
  *blank = (path->blank + path->label) * probabilities[BLANK];
  *label = path->last == BLANK ? 0 : path->label * probabilities[path->last];
}

// The ranks of the paths if they stay, into `ranks` (paths,) → the best one.
static double ranks_of_staying(Search *search, const double *frame, const double *probabilities) {
  double most = -INFINITY;
  search->ranks = room(search->ranks, &search->rank_room, search->path_count, sizeof(double));
  for (int32_t i = 0; i < search->path_count; i++) {
    Path *path = &search->paths[i];
    double blank, label;
    stay(path, probabilities, &blank, &label);
    path->staying = label > 0 ? log(blank + label) : path->mass + frame[BLANK];
    search->ranks[i] = path->staying + nodes[path->node].ahead;
    most = fmax(most, search->ranks[i]);
  }
  return most;
}

// What these ranks and those of the grown paths must reach to be among the best.
static double least_rank(Search *search) {
  int32_t count = search->path_count + search->grown_count;
  if (count <= search->beam || search->margin == INFINITY) return -INFINITY;
  search->ranks = room(search->ranks, &search->rank_room, count, sizeof(double));
  for (int32_t i = 0; i < search->grown_count; i++) search->ranks[search->path_count + i] = search->grown[i].estimate;
  return reached_by(search->ranks, count, search->beam);
}

static void merge(
    Search *search, int32_t history, int32_t node, int32_t last, int32_t from, double blank, double label) {
  if (!(blank + label > 0)) return;
  Index *index = &search->merged_index;
  uint32_t at = hash(history, node, last) & index->mask;
  for (; index->slots[at] != FREE; at = (at + 1) & index->mask) {
    Merged *there = &search->merged[index->slots[at]];
    if (there->history != history || there->node != node || there->last != last) continue;
    there->blank += blank, there->label += label;
    if (blank + label > there->most) there->most = blank + label, there->from = from;
    return;
  }
  index->slots[at] = search->merged_count;
  search->merged[search->merged_count++] = (Merged){
      .history = history, .node = node, .last = last, .from = from, .blank = blank, .label = label, .most = blank + label};
}

static double value(const Merged *path, int loans_too) { return path->rank + (loans_too ? path->lent : 0); }

// Of `count` merged paths, leave the `alike` best of those that get the same from whatever follows → how many.
static int32_t leave_alike(Search *search, int32_t *chosen, int32_t count, int loans_too) {
  Index *groups = &search->group_index;
  clear_index(groups, count);
  for (int32_t i = 0; i < count; i++) {
    Merged *path = &search->merged[chosen[i]];
    int32_t first = search->histories[path->history].first;
    uint32_t at = hash(first, path->node, path->last) & groups->mask;
    for (; groups->slots[at] != FREE; at = (at + 1) & groups->mask) {
      const Merged *other = &search->merged[groups->slots[at]];
      if (other->node != path->node || other->last != path->last) continue;
      if (search->histories[other->history].first == first) break;
    }
    int32_t *place = &groups->slots[at];  // of the group's best one, which is followed by the others in their order
    while (*place != FREE && value(&search->merged[*place], loans_too) >= value(path, loans_too)) {
      place = &search->merged[*place].next;
    }
    path->next = *place, *place = chosen[i], path->left = 0;
  }
  for (uint32_t at = 0; at <= groups->mask; at++) {
    int32_t path = groups->slots[at];
    for (int32_t rank = 0; path != FREE && rank < search->alike; path = search->merged[path].next, rank++) {
      search->merged[path].left = 1;
    }
  }
  int32_t left = 0;
  for (int32_t i = 0; i < count; i++) if (search->merged[chosen[i]].left) chosen[left++] = chosen[i];
  return left;
}

// Add the best merged paths to the kept ones, by their ranks with loans or without.
static void keep_best(Search *search, int loans_too) {
  int32_t first = search->kept_count, count = search->merged_count, near = 0;
  search->kept = room(search->kept, &search->kept_room, first + 2 * count, sizeof(int32_t));
  search->ranks = room(search->ranks, &search->rank_room, count, sizeof(double));
  int32_t *chosen = search->kept + first + count;
  double best = -INFINITY;
  for (int32_t i = 0; i < count; i++) best = fmax(best, value(&search->merged[i], loans_too));
  for (int32_t i = 0; i < count; i++) {
    double rank = value(&search->merged[i], loans_too);
    if (rank > best - search->margin) search->ranks[near] = rank, chosen[near++] = i;
  }
  if (near > search->beam && search->alike > 1) {
    near = leave_alike(search, chosen, near, loans_too);
    for (int32_t i = 0; i < near; i++) search->ranks[i] = value(&search->merged[chosen[i]], loans_too);
  }
  if (near <= search->beam) {
    for (int32_t i = 0; i < near; i++) search->kept[search->kept_count++] = chosen[i];
    return;
  }
  double least = reached_by(search->ranks, near, search->beam);
  int32_t equal = search->beam;  // so many of those that just reach it have room
  for (int32_t i = 0; i < near; i++) equal -= value(&search->merged[chosen[i]], loans_too) > least;
  for (int32_t i = 0; i < near; i++) {
    double rank = value(&search->merged[chosen[i]], loans_too);
    if (rank > least || (rank == least && equal-- > 0)) search->kept[search->kept_count++] = chosen[i];
  }
}

// The kept paths, with entries in the trace for those that grew.
static void renew(Search *search) {
  int32_t count = search->path_count, its_room = search->path_room;
  Path *paths = search->before;
  search->before = search->paths, search->paths = paths;
  search->path_room = search->before_room, search->before_room = its_room;
  search->paths = room(search->paths, &search->path_room, search->kept_count, sizeof(Path));
  search->trace = room(search->trace, &search->entry_room, search->entry_count + search->kept_count, sizeof(Entry));
  double most = 0;
  for (int32_t i = 0; i < search->kept_count; i++) {
    const Merged *path = &search->merged[search->kept[i]];
    most = fmax(most, path->blank + path->label);
  }
  double scale = log(most);
  for (int32_t i = 0; i < search->kept_count; i++) {
    const Merged *path = &search->merged[search->kept[i]];
    int32_t entry;
    if (path->from < count) {
      entry = search->before[path->from].entry;
    } else {
      const Grown *grown = &search->grown[path->from - count];
      int32_t before = search->before[grown->source].entry;
      entry = search->entry_count++;
      int32_t ended = grown->word == NOTHING ? search->trace[before].ended : entry;
      search->trace[entry] = (Entry){before, path->last, search->frames, grown->word, ended};
    }
    double blank = path->blank / most, label = path->label / most;
    search->paths[i] = (Path){path->history, path->node, path->last, entry, blank, label, path->mass - scale, 0};
  }
  search->path_count = search->kept_count;
  search->scale += scale;
}

static void step(Search *search, const double *frame, const int32_t *labels, int32_t label_count) {
  double probabilities[CLASSES] = {[BLANK] = exp(frame[BLANK])};  // 0 for labels that are left out
  for (int32_t i = 0; i < label_count; i++) probabilities[labels[i]] = exp(frame[labels[i]]);
  // Those would be dropped in the end, unless they were lent something.
  double best = ranks_of_staying(search, frame, probabilities);
  grow(search, frame, labels, label_count, loan_count ? -INFINITY : best - search->margin);
  for (int32_t i = 0; i < search->grown_count; i++) {
    if (search->grown[i].word == NOTHING) best = fmax(best, search->grown[i].estimate);
  }
  double least = least_rank(search), least_end = best - END_MARGIN * search->margin;
  int32_t most = search->path_count + search->grown_count;
  search->merged = room(search->merged, &search->merged_room, most, sizeof(Merged));
  search->merged_count = search->kept_count = 0;
  clear_index(&search->merged_index, most);
  for (int32_t i = 0; i < search->path_count; i++) {
    const Path *path = &search->paths[i];
    double blank, label;
    stay(path, probabilities, &blank, &label);
    merge(search, path->history, path->node, path->last, i, blank, label);
  }
  for (int32_t i = 0; i < search->grown_count; i++) {
    Grown *grown = &search->grown[i];
    const Path *source = &search->paths[grown->source];
    double estimate = grown->estimate;
    if (loan_count && grown->last != BOUNDARY) {
      estimate += loan(search->histories[source->history].place, grown->node);
    }
    int32_t history = source->history, is_hot = grown->word >= 0 && hot[grown->word];
    if (estimate < least && !is_hot) continue;
    if (grown->word != NOTHING) {
      History after;
      double log_prob;
      grown->mass += follow(search, history, source->node, grown->word, &after, &log_prob);
      if (share && grown->mass + weight * log_prob < least_end && !is_hot) continue;
      grown->mass += weight * with_network(search, history, grown->word, log_prob);
      history = number_of(search, &after);
    }
    merge(search, history, grown->node, grown->last, search->path_count + i, 0, exp(grown->mass));
  }
  for (int32_t i = 0; i < search->merged_count; i++) {
    Merged *path = &search->merged[i];
    if (path->blank + path->label > path->most) path->mass = log(path->blank + path->label);
    else if (path->from < search->path_count) path->mass = search->paths[path->from].staying;
    else path->mass = search->grown[path->from - search->path_count].mass;
    path->rank = path->mass + nodes[path->node].ahead;
    if (loan_count) path->lent = loan(search->histories[path->history].place, path->node);
  }
  if (loan_count) {  // paths with loans must not crowd out those without
    keep_best(search, 1);
    int32_t preferred = search->kept_count;
    keep_best(search, 0);
    int32_t count = preferred;
    for (int32_t i = preferred; i < search->kept_count; i++) {
      int there = 0;
      for (int32_t j = 0; j < preferred && !there; j++) there = search->kept[j] == search->kept[i];
      if (!there) search->kept[count++] = search->kept[i];
    }
    search->kept_count = count;
  } else {
    keep_best(search, 0);
  }
  if (search->kept_count) renew(search);  // else the frame is impossible
}

// The next frames, log-posteriors (frames, CLASSES).
EXPORT(accept) void accept(Search *search, const double *log_probs, int32_t frames) {
  int32_t labels[CLASSES];
  for (; frames > 0; frames--, log_probs += CLASSES, search->frames++) {
    int32_t count = candidates(search, log_probs, labels);
    if (count) {
      step(search, log_probs, labels, count);
      continue;
    }
    for (int32_t i = 0; i < search->path_count; i++) {  // no path grows, and their order stays
      Path *path = &search->paths[i];
      path->blank += path->label, path->label = 0;  // and so their mass
    }
    search->scale += fmax(log_probs[BLANK], log(1e-300));
  }
}
