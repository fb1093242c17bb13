"""The tree keeps the layering table, and the check that says so can fail."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import layers

ROOT = pathlib.Path(__file__).resolve().parents[3]


class RealTree(unittest.TestCase):
    def test_keeps_the_table(self):
        self.assertEqual(layers.violations(ROOT), [])

    def test_is_found_at_all(self):
        files = [path for top in ("model", "server") for path in (ROOT / top).rglob("*.cc")]
        self.assertGreater(len(files), 10)

    def test_every_row_of_the_table_is_a_place_of_ours(self):
        for row in layers.LAYERS:
            self.assertIn(row.folder.split("/")[0], ("model", "server", "client", "tests"))


class PlantedTree(unittest.TestCase):
    """Each test writes a small tree with one fault and expects exactly that to be named."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("model/base/clock.h", "#include <chrono>\n")
        self.write("model/api/encoder.h", '#include "absl/status/status.h"\n')
        self.write("model/attention/attention.h", "#include <ATen/core/TensorBase.h>\n")
        self.write("server/rpc/service.h", '#include "longwave/v1/encode.pb.h"\n')
        self.assertEqual(layers.violations(self.root), [])

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def expect(self, path, *words):
        found = layers.violations(self.root)
        self.assertEqual(len(found), 1, found)
        for word in (path, *words):
            self.assertIn(word, found[0])

    def test_server_core_may_not_name_model_internals(self):
        self.write("server/scheduling/queue.cc", '#include "model/attention/attention.h"\n')
        self.expect("server/scheduling/queue.cc", "may not include model/attention/attention.h")

    def test_model_may_not_name_the_server(self):
        self.write("server/scheduling/queue.h", "")
        self.write("model/encoder/encoder.cc", '#include "server/scheduling/queue.h"\n')
        self.expect("model/encoder/encoder.cc", "server/scheduling/queue.h")

    def test_admission_may_not_name_protobuf(self):
        self.write("server/admission/decode.cc", '#include "longwave/v1/encode.pb.h"\n')
        self.expect("server/admission/decode.cc", "protobuf")

    def test_rpc_may_not_name_libtorch(self):
        self.write("server/rpc/reply.cc", "  #  include <torch/torch.h>\n")
        self.expect("server/rpc/reply.cc", "libtorch")

    def test_base_may_not_name_the_seam(self):
        self.write("model/base/bad.h", '#include "model/api/encoder.h"\n')
        self.expect("model/base/bad.h", "may not include model/api/encoder.h")

    def test_prometheus_may_not_be_in_a_header(self):
        self.write("server/observability/metrics.cc", "#include <prometheus/counter.h>\n")
        self.assertEqual(layers.violations(self.root), [])
        self.write("server/observability/metrics.h", "#include <prometheus/counter.h>\n")
        self.expect("server/observability/metrics.h", "not in a header")

    def test_prometheus_is_observabilitys_alone(self):
        self.write("server/main.cc", "#include <prometheus/exposer.h>\n")
        self.expect("server/main.cc", "prometheus")

    def test_absl_mutex_is_nobodys(self):
        self.write("server/scheduling/lock.cc", '#include "absl/synchronization/mutex.h"\n')
        self.expect("server/scheduling/lock.cc", "absl-mutex")

    def test_client_may_not_name_the_server_or_the_model(self):
        self.write("client/client.cc", '#include "model/base/clock.h"\n')
        self.expect("client/client.cc", "model/base/clock.h")

    def test_libtorch_and_protobuf_may_not_meet_through_headers(self):
        self.write("server/main.cc", '#include "model/attention/attention.h"\n')
        self.assertEqual(layers.violations(self.root), [])
        self.write(
            "server/main.cc",
            '#include "model/attention/attention.h"\n#include "server/rpc/service.h"\n',
        )
        self.expect("server/main.cc", "model/attention/attention.h", "server/rpc/service.h")

    def test_missing_header_of_ours_is_named(self):
        self.write("server/rpc/x.cc", '#include "model/base/gone.h"\n')
        self.expect("server/rpc/x.cc", "model/base/gone.h", "not in the tree")

    def test_unknown_library_is_named(self):
        self.write("server/rpc/x.cc", "#include <boost/any.hpp>\n")
        self.expect("server/rpc/x.cc", "boost/any.hpp", "no library")

    def test_new_folder_needs_a_row(self):
        for path in ("model/magic/x.cc", "server/magic/x.cc"):
            self.write(path, "")
            self.expect(path, "no row")
            (self.root / path).unlink()


if __name__ == "__main__":
    unittest.main()
