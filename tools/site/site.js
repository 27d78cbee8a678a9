// What Furo and the browser leave to the mouse, for keys: the menus' labels, and boxes that scroll
{
const boxes = '.output.text_html, .table-wrapper, .math-wrapper, .highlight pre';
const names = {__navigation: 'Site menu', __toc: 'Contents of this page'};

function asButton(label) {
    const box = document.getElementById(label.htmlFor);
    if (!box || label.matches('.overlay')) return;
    const say = () => label.setAttribute('aria-expanded', box.checked);
    Object.assign(label, {tabIndex: 0, role: 'button', ariaLabel: names[box.id] ?? box.ariaLabel});
    label.addEventListener('keydown', e => { if (e.key == 'Enter' || e.key == ' ') { e.preventDefault(); box.click(); } });
    box.addEventListener('change', say);
    say();
}

function reachable() {
    for (const e of document.querySelectorAll(boxes))
        if (e.scrollWidth > e.clientWidth) e.tabIndex = 0; else e.removeAttribute('tabindex');
}

addEventListener('DOMContentLoaded', () => {
    document.querySelectorAll('label[for]').forEach(asButton);
    reachable();
    addEventListener('resize', reachable);
    addEventListener('keydown', e => { if (e.key == 'Escape') document.querySelectorAll('.sidebar-toggle:checked').forEach(o => o.click()); });
});
}
