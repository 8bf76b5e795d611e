# Stands for a program on a GPU: it tells the fake NVML what is held, all of it at once. Needs FAKE_NVML.
# usage: . gpu.sh; gpu used=100 process=$$:100
gpu() {
    cp "$FAKE_NVML" "$FAKE_NVML.new"
    for pair; do
        grep -v "^${pair%%=*}=" "$FAKE_NVML.new" > "$FAKE_NVML.newer"
        echo "$pair" >> "$FAKE_NVML.newer"
        mv "$FAKE_NVML.newer" "$FAKE_NVML.new"
    done
    mv "$FAKE_NVML.new" "$FAKE_NVML"
}
phase() { echo "{\"phase\":\"$1\"}" > "$VRAMPLAN_PHASE_PATH"; }
