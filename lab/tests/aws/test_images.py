"""Images behave as the EC2 API reference says. Each test names what AWS documents and stock moto does otherwise."""

from harness import IMAGE, Case, eventually


class Images(Case):
    def image(self, **given):
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 40, "VolumeType": "gp3", "Encrypted": True}}
        made = self.instance(self.subnet(self.vpc()), BlockDeviceMappings=[disk])
        return self.ec2.create_image(InstanceId=made["InstanceId"], Name=self.name, **given)["ImageId"], made

    def described_image(self, image: str) -> dict:
        return self.ec2.describe_images(ImageIds=[image])["Images"][0]

    def test_an_image_has_the_size_and_encryption_of_the_instances_root_volume(self):
        image, _ = self.image()

        found = self.described_image(image)
        disk = found["BlockDeviceMappings"][0]["Ebs"]
        self.assertEqual(("ebs", 40, True), (found["RootDeviceType"], disk["VolumeSize"], disk["Encrypted"]))

    def test_create_image_tags_image_and_snapshot(self):
        tags = [{"ResourceType": kind, "Tags": [{"Key": "k", "Value": kind}]} for kind in ("image", "snapshot")]
        image, _ = self.image(TagSpecifications=tags)

        snapshot = self.described_image(image)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        found = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        self.assertEqual([{"Key": "k", "Value": "snapshot"}], found["Tags"])

    def test_create_image_captures_the_machines_disk(self):
        image, made = self.image()

        self.assertIn(f"image {image} {made['InstanceId']}", self.lab.told())

    def test_an_image_whose_capture_failed_is_failed(self):
        (self.lab.dir / "fail-image").touch()
        self.addCleanup((self.lab.dir / "fail-image").unlink)

        image, _ = self.image()

        self.assertEqual("failed", self.described_image(image)["State"])

    def test_an_image_name_in_use_is_invalid_ami_name_duplicate(self):
        _, made = self.image()

        self.refused("InvalidAMIName.Duplicate", self.ec2.create_image, InstanceId=made["InstanceId"], Name=self.name)

    def test_an_encrypted_copy_is_encrypted(self):
        copied = self.ec2.copy_image(SourceImageId=IMAGE, SourceRegion="us-east-1", Name=self.name, Encrypted=True)[
            "ImageId"
        ]

        eventually(lambda: self.described_image(copied)["State"] == "available")
        self.assertTrue(self.described_image(copied)["BlockDeviceMappings"][0]["Ebs"].get("Encrypted"))

    def test_a_deregistered_image_is_unknown(self):
        image, _ = self.image()
        self.ec2.deregister_image(ImageId=image)

        self.refused("InvalidAMIID.NotFound", self.ec2.describe_images, ImageIds=[image])

    def test_an_image_protected_from_deregistration_stays(self):
        image, _ = self.image()
        self.ec2.enable_image_deregistration_protection(ImageId=image)

        self.refused("OperationNotPermitted", self.ec2.deregister_image, ImageId=image)

    def test_a_deprecated_image_says_when(self):
        image, _ = self.image()

        self.ec2.enable_image_deprecation(ImageId=image, DeprecateAt="2030-01-01T00:00:00Z")

        self.assertIn("2030-01-01", self.described_image(image)["DeprecationTime"])

    def test_owner_self_does_not_find_the_source_image_and_its_owner_id_does(self):
        name = [{"Name": "name", "Values": ["Rocky-9-EC2-Base-9.4-20240509.0.x86_64"]}]

        found = {
            owner: [i["ImageId"] for i in self.ec2.describe_images(Owners=[owner], Filters=name)["Images"]]
            for owner in ("self", "amazon", "792107900819")
        }

        self.assertEqual({"self": [], "amazon": [], "792107900819": [IMAGE]}, found)

    def test_ids_and_owners_hold_at_once(self):
        found = self.ec2.describe_images(ImageIds=[IMAGE], Owners=["self"])
        self.assertEqual([], found["Images"])

    def test_snapshots_of_owner_self_do_not_include_the_source_images(self):
        own = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        self.assertEqual([], [s for s in own if s["OwnerId"] != "123456789012"])
