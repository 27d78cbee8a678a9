// Search results in the order of the menu, guides and commands before the library; a page whose title was asked for comes first, and some words have a page
var Scorer = (() => {
    const groups = GROUPS, first = FIRST;
    const asked = (new URLSearchParams(location.search).get('q') ?? '').trim().toLowerCase();
    return {
        score: ([page, title, anchor, descr, score]) =>
            score + (groups[page] ?? 0) + (title.toLowerCase() == asked ? 50 : 0) + (first[asked] == page && !anchor ? 100 : 0),
        objNameMatch: 11, objPartialMatch: 6, objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
        title: 15, partialTitle: 7, term: 5, partialTerm: 2,
    };
})();
