// The pictures of a MAPDiff report: three linked planes by NiiVue, a MIP of our own, one window for both.
"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const setting = JSON.parse(byId("setting").textContent);
  const [nx, ny, nz] = setting.size; // voxels, axes to the patient's right, front and head
  const voxelCount = nx * ny * nz;

  function fail(error) {
    byId("problem").textContent = `The pictures cannot be shown: ${error.message || error}`;
    byId("problem").hidden = false;
    throw error;
  }

  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  // Int16 values: a gzip stream of all low bytes, then all high bytes (they compress better apart).
  async function readVolume(index) {
    const element = byId(`volume-${index}`);
    const stream = new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    element.remove();
    const values = new Int16Array(voxelCount);
    for (let i = 0; i < voxelCount; i++) values[i] = bytes[i] | (bytes[voxelCount + i] << 8);
    return values;
  }

  // ---- what is shown -------------------------------------------------------------------------------------------
  const stops = setting.stops; // {label, dose}, ascending: the input first
  const reading = []; // promises of Int16Array, each volume read once, when it is first needed
  const volumeAt = (index) => (reading[index] ??= readVolume(index));
  const spreadIndex = stops.length; // the uncertainty's place, where there is one

  // Between two doses, volumes mix linearly in 1/dose: low-dose data are a subset of the full-dose counts.
  async function valuesAt(position) {
    const below = Math.floor(position), share = position - below;
    if (share === 0) return { values: await volumeAt(below), label: stops[below].label };
    const [a, b] = [stops[below].dose, stops[below + 1].dose];
    const dose = a ** (1 - share) * b ** share;
    const weight = (1 / a - 1 / dose) / (1 / a - 1 / b);
    const [low, high] = await Promise.all([volumeAt(below), volumeAt(below + 1)]);
    const values = new Int16Array(voxelCount);
    for (let i = 0; i < voxelCount; i++) values[i] = low[i] + weight * (high[i] - low[i]);
    return { values, label: `${(100 * dose).toPrecision(3)} % dose, mixed` };
  }

  // ---- planes --------------------------------------------------------------------------------------------------
  const view = new niivue.Niivue({
    backColor: [1, 1, 1, 1], crosshairColor: [0.1, 0.45, 0.85, 0.8], show3Dcrosshair: false,
    isRadiologicalConvention: true, isColorbar: false, dragAndDropEnabled: false, logLevel: "error", loadingText: "",
    multiplanarShowRender: niivue.SHOW_RENDER.NEVER, sliceType: niivue.SLICE_TYPE.MULTIPLANAR,
  });

  async function startPlanes(values) {
    const header = bytesOf(setting.header);
    const file = new Uint8Array(header.length + 2 * voxelCount);
    file.set(header);
    file.set(new Uint8Array(values.buffer), header.length);
    const image = await niivue.NVImage.new(file.buffer, "scan.nii", "gray", 1, null, shown.low, shown.high);
    image.colormapInvert = true;
    view.addVolume(image);
  }

  function drawPlanes(values) {
    const volume = view.volumes[0];
    volume.img = values;
    volume.cal_min = shown.low;
    volume.cal_max = shown.high;
    view.updateGLVolume();
  }

  // ---- MIP -----------------------------------------------------------------------------------------------------
  const canvas = byId("mip");
  const [dx, dy, dz] = setting.spacing;
  const widest = Math.ceil(Math.hypot(nx * dx, ny * dy) / dx); // columns that hold the body at any angle
  const across = widest + ((widest - nx) & 1); // even or odd as nx, so that columns and voxels coincide when not turned
  const brightest = new Int32Array(across * nz); // the voxel that each pixel of the MIP shows, or -1
  let angle = 0;

  function projectMip(values) {
    const best = new Int16Array(across * nz).fill(-32768);
    brightest.fill(-1);
    const cos = Math.cos(angle), sin = Math.sin(angle);
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++) {
        // The patient's right stands on the left of the picture.
        const u = Math.round((across - 1) / 2 - (cos * (x - (nx - 1) / 2) * dx + sin * (y - (ny - 1) / 2) * dy) / dx);
        if (u < 0 || u >= across) continue;
        for (let z = 0, i = y * nx + x, pixel = (nz - 1) * across + u; z < nz; z++, i += nx * ny, pixel -= across) {
          if (values[i] > best[pixel]) { best[pixel] = values[i]; brightest[pixel] = i; }
        }
      }
    }
    return best;
  }

  function drawMip(values) {
    const best = projectMip(values);
    canvas.width = across;
    canvas.height = Math.round((nz * dz) / dx); // square pixels
    const image = new ImageData(across, canvas.height);
    const low = shown.low / setting.step, high = shown.high / setting.step;
    for (let row = 0; row < canvas.height; row++) {
      const source = Math.min(nz - 1, Math.floor((row * nz) / canvas.height)) * across;
      for (let u = 0; u < across; u++) {
        const empty = brightest[source + u] < 0;
        const grey = empty ? 255 : 255 * (1 - Math.min(1, Math.max(0, (best[source + u] - low) / (high - low))));
        image.data.fill(grey, 4 * (row * across + u), 4 * (row * across + u) + 3);
        image.data[4 * (row * across + u) + 3] = 255;
      }
    }
    const context = canvas.getContext("2d");
    context.putImageData(image, 0, 0);
    context.fillStyle = "rgba(26,115,217,.6)"; // the height of the crosshair
    context.fillRect(0, canvas.height * (1 - view.scene.crosshairPos[2]), across, 1);
  }

  function goTo(event) {
    const box = canvas.getBoundingClientRect();
    const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
    const u = Math.floor((event.clientX - box.left - (box.width - scale * canvas.width) / 2) / scale);
    const row = Math.floor((event.clientY - box.top - (box.height - scale * canvas.height) / 2) / scale);
    if (u < 0 || u >= across || row < 0 || row >= canvas.height) return;
    const voxel = brightest[Math.floor((row * nz) / canvas.height) * across + u];
    if (voxel < 0) return;
    const place = [voxel % nx, Math.floor(voxel / nx) % ny, Math.floor(voxel / (nx * ny))];
    view.scene.crosshairPos = place.map((index, axis) => (index + 0.5) / setting.size[axis]);
    view.drawScene();
    moved();
  }

  function goToPlace(index) {
    view.scene.crosshairPos = setting.places[index];
    byId("places").dataset.at = index;
    view.drawScene();
    moved();
  }

  document.querySelectorAll("#places tbody tr").forEach((row, index) => {
    row.addEventListener("click", () => goToPlace(index));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") goToPlace(index); });
  });

  // ---- controls ------------------------------------------------------------------------------------------------
  const shown = { low: setting.window[0], high: setting.window[1], values: null };
  let drawing = Promise.resolve();

  const redraw = () => { drawPlanes(shown.values); drawMip(shown.values); };

  // One picture after another, and of several positions asked for meanwhile only the last.
  let wanted = 0;
  function show() {
    const turn = ++wanted;
    document.body.dataset.drawing = "true";
    drawing = drawing.then(async () => {
      if (turn !== wanted) return;
      const spread = byId("uncertainty").checked;
      const position = Number(byId("dose").value);
      const { values, label } = spread
        ? { values: await volumeAt(spreadIndex), label: "uncertainty (1 SD of full dose)" }
        : await valuesAt(position);
      shown.values = values;
      byId("shown").value = label;
      document.querySelectorAll("#numbers tbody tr").forEach((row, index) =>
        row.classList.toggle("shown", !spread && index === position));
      redraw();
    }).catch(fail).then(() => { if (turn === wanted) delete document.body.dataset.drawing; });
    return drawing;
  }

  function setWindow(low, high) {
    if (!(high > low)) return;
    Object.assign(shown, { low, high });
    byId("low").value = Number(low.toPrecision(4));
    byId("high").value = Number(high.toPrecision(4));
    if (shown.values) redraw();
  }

  function moved() {
    const place = setting.size.map((count, axis) =>
      Math.min(count - 1, Math.max(0, Math.floor(view.scene.crosshairPos[axis] * count))));
    const index = place[0] + nx * (place[1] + ny * place[2]);
    document.querySelectorAll("#numbers .here").forEach(async (cell, row) => {
      cell.textContent = ((await volumeAt(row))[index] * setting.step).toPrecision(3);
    });
    if (shown.values) drawMip(shown.values);
  }

  byId("dose").max = stops.length - 1;
  byId("dose").addEventListener("input", () => { byId("uncertainty").checked = false; restoreWindow(); show(); });
  byId("low").addEventListener("change", () => setWindow(Number(byId("low").value), shown.high));
  byId("high").addEventListener("change", () => setWindow(shown.low, Number(byId("high").value)));
  byId("spread").hidden = !setting.uncertainty;
  let before = null; // the window of the doses, while the uncertainty has its own
  const restoreWindow = () => { if (before) { const [low, high] = before; before = null; setWindow(low, high); } };
  byId("uncertainty").addEventListener("change", () => {
    if (byId("uncertainty").checked) {
      before = [shown.low, shown.high];
      setWindow(0, shown.high / 8);
    } else restoreWindow();
    show();
  });
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, angle, turned: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const by = event.clientX - drag.x;
    drag.turned ||= Math.abs(by) > 3;
    if (!drag.turned) return;
    angle = drag.angle + (by / canvas.clientWidth) * Math.PI;
    drawMip(shown.values);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.turned) goTo(event);
    drag = null;
  });

  try {
    setWindow(...setting.window);
    const first = volumeAt(0); // unpacked by the browser beside the long building of NiiVue's shaders
    await view.attachToCanvas(byId("planes"));
    shown.values = await first;
    byId("shown").value = stops[0].label;
    byId("numbers").querySelector("tbody tr").classList.add("shown");
    drawMip(shown.values);
    await startPlanes(shown.values);
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    document.body.dataset.firstPictureMs = Math.round(performance.now());
    view.onLocationChange = moved;
    for (let index = 0; index < setting.volumes; index++) await volumeAt(index); // the others follow behind
    moved();
    document.body.dataset.ready = "true";
  } catch (error) {
    fail(error);
  }
})();
