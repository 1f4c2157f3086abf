"""Instance profiles by path."""

from harness import Case


class Profiles(Case):
    def test_profiles_are_listed_below_the_path_that_is_asked_for_only(self):
        for path in ("one", "two"):
            self.iam.create_instance_profile(InstanceProfileName=f"{self.name}-{path}", Path=f"/{self.name}/{path}/")

        found = self.iam.list_instance_profiles(PathPrefix=f"/{self.name}/one/")["InstanceProfiles"]

        self.assertEqual([f"{self.name}-one"], [profile["InstanceProfileName"] for profile in found])
