"""Every test of what AWS documents must fail against moto as it comes: a patch that moto has made superfluous is
found here."""

import unittest

import harness
import test_images
import test_instances
import test_loadbalancers
import test_networks
import test_profiles

DOCUMENTED = (
    test_instances.Instances,
    test_images.Images,
    test_networks.Networks,
    test_loadbalancers.LoadBalancers,
    test_profiles.Profiles,
)


class Stock(unittest.TestCase):
    def test_stock_moto_fails_each_of_them(self):
        patience, harness.PATIENCE = harness.PATIENCE, 1.0
        self.addCleanup(setattr, harness, "PATIENCE", patience)
        suite = unittest.TestSuite()
        for documented in DOCUMENTED:
            against = type(documented.__name__ + "AgainstStock", (documented,), {"stock": True})
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(against))
        names = {test.id().rsplit(".", 1)[1] for test in suite}

        result = unittest.TestResult()
        suite.run(result)

        failed = {test.id().rsplit(".", 1)[1] for test, _ in [*result.failures, *result.errors]}
        self.assertEqual(set(), names - failed, "stock moto passes these: are their patches still needed?")
