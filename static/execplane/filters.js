// Filters apply while they are typed or chosen, and stand in the address, so that a filtered list can be linked to.

function address(form) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
  const text = query.toString();
  return form.getAttribute("action") || location.pathname + (text ? `?${text}` : "");
}

export function start() {
  let timer = 0;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-filter]");
    if (!form || !event.target.matches("input[type=search]")) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      history.replaceState(null, "", address(form));
      const live = document.getElementById("live");
      delete live.dataset.have;
      htmx.trigger(live, "nudge");
    }, 200);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-autosubmit]")) location.assign(address(event.target.form));
  });
  document.addEventListener("submit", (event) => {
    if (event.target.matches("form.filters")) {
      event.preventDefault();
      location.assign(address(event.target));
    }
  });
}
