// Returns what is wider than the screen, or than what cuts it off, and cannot be scrolled to.
() => {
  const screen = document.documentElement.clientWidth;

  const cut = (element) => {
    const box = element.getBoundingClientRect();
    for (let around = element.parentElement; around; around = around.parentElement) {
      const style = getComputedStyle(around);
      if (["auto", "scroll"].includes(style.overflowX) && around !== document.body) return false;
      if (["hidden", "clip"].includes(style.overflowX) && around !== document.body) {
        const edge = around.getBoundingClientRect();
        if (box.right > edge.right + 1 || box.left < edge.left - 1) return true;
      }
      if (style.position === "fixed") break;
    }
    return box.right > screen + 1 || box.left < -1;
  };

  const seen = { opacityProperty: true, visibilityProperty: true };
  const found = [...document.querySelectorAll("article *, header *, footer *")].filter(
    (element) => element.getBoundingClientRect().width > 1 && element.checkVisibility(seen) && cut(element),
  );
  const names = found.map((element) => `${element.tagName} ${element.textContent.trim().slice(0, 50)}`);
  return document.documentElement.scrollWidth > screen ? ["the page", ...names] : names;
}
